// A policy is an object like this one: it says which entries of a turn stay, and which one goes when there are too many.
// It never sees a key or a value, and what it says is checked while it runs.
import { eachLayer, keepAll } from 'elastic-cache';

/** Keeps the first token, and of the others as many of the last as the budget allows, every other one of them twice as far back. */
export default {
  name: 'every-other',
  attention: 'never',
  minimum: 2,
  begin: () =>
    eachLayer({
      /** What stays of what is held and new, `tokens` together, ascending. */
      compress({ tokens, allowed }) {
        if (tokens <= allowed.entries) return keepAll(tokens);
        const room = allowed.entries - 1;
        const recent = Math.ceil(room / 2);
        const keep = [0];
        for (let left = room - recent, at = tokens - recent - 2 * left; left > 0; left--, at += 2)
          keep.push(Math.max(at, keep.at(-1) + 1));
        for (let at = tokens - recent; at < tokens; at++) keep.push(at);
        return { keep: Int32Array.from(keep) };
      },
      /** The row of the entry to remove, or -1 for none: here the oldest after the first. */
      evict: (entries, allowed) => (entries.length > allowed.entries ? entries.at(1) : -1),
    }),
};
