import type { Budget } from '../../src/cache/budget.js';
import type { CachePolicy } from '../../src/cache/policy.js';
import type { EntryRows } from '../../src/memory/shape.js';
import type { Given, Part, Playable, Script } from './play.js';

/** One entry as a plain object; `key` and `value` are those of all heads that share the choice, one after the other. */
export interface NaiveEntry {
  position: number;
  count: number;
  key: number[];
  value: number[];
  /** What it has received in this turn, or in this step. */
  received: number;
  /** What it has received in all that its policy counts. */
  score: number;
  /** How many queries of that could see it. */
  queries: number;
}

/** What a policy is told when its lists are too long. */
export interface Situation {
  readonly share: number;
  readonly seen: number;
  /** New tokens of the turn. */
  readonly fresh: number;
  /** [seen] 1 for a part of an image */
  readonly image: readonly number[];
  /** Lists of each layer: one, or one for each head. */
  readonly choices: number;
  readonly headDim: number;
  /** [layers] how many tokens a query sees; undefined where all see all */
  readonly windows: Script['windows'];
}

/** A method that edits the arrays in place: one for each layer, or for each head of each. */
export interface NaivePolicy {
  /** Attention counts at every step, not in turns alone. */
  readonly always?: boolean;
  /** A turn is judged by what its last tokens attend to, and nothing that was before. */
  readonly window?: number | undefined;
  /** The most of one query in place of the sum, a token's own left out. */
  readonly peak?: boolean;
  turn(lists: NaiveEntry[][], situation: Situation): void;
  step(lists: NaiveEntry[][], situation: Situation): void;
}

interface NaiveSequence {
  readonly policy: NaivePolicy;
  /** [layers x choices] */
  readonly lists: NaiveEntry[][];
  readonly image: number[];
  seen: number;
  /** New tokens of the turn so far. */
  fresh: number;
}

/** The cache written the obvious way, an array of objects for each sequence, layer and choice: the oracle of the fast one. */
export class NaiveCache implements Playable {
  private readonly sequences: NaiveSequence[];
  /** The heads of each choice. */
  private readonly choices: number[][];

  constructor(
    private readonly script: Pick<Script, 'shape' | 'windows'>,
    private readonly budget: Budget,
    start: () => NaivePolicy,
    heads: CachePolicy['heads'] = 'shared',
  ) {
    const { batch, layers, kvHeads } = script.shape;
    const all = times(kvHeads, (head) => head);
    this.choices = heads === 'shared' ? [all] : all.map((head) => [head]);
    this.sequences = times(batch, () => ({
      policy: start(),
      lists: times(layers * this.choices.length, () => []),
      image: [],
      seen: 0,
      fresh: 0,
    }));
  }

  noteImage(image: Uint8Array, row: number): void {
    this.sequences[row]!.image.push(...image);
  }

  turn(tokens: number, given: Given, { attended, continues }: Part, row: number): void {
    const sequence = this.sequences[row]!;
    const { policy, lists } = sequence;
    if (sequence.fresh === 0) {
      for (const entry of lists.flat()) {
        entry.received = 0;
        if (policy.window !== undefined) Object.assign(entry, { score: 0, queries: 0 });
      }
    }
    this.add(sequence, given, tokens, attended);
    sequence.fresh += tokens;
    if (continues) return;
    for (const entry of lists.flat()) entry.score += entry.received;
    policy.turn(lists, this.situation(sequence));
    sequence.fresh = 0;
  }

  step(given: readonly Given[]): void {
    this.sequences.forEach((sequence, row) => {
      const { policy, lists, image } = sequence;
      for (const entry of lists.flat()) entry.received = 0;
      this.add(sequence, given[row]!, 1, policy.always === true);
      for (const entry of lists.flat()) entry.score += policy.always ? entry.received : 0;
      image.push(0);
      policy.step(lists, this.situation(sequence));
    });
  }

  entries(layer: number, row = 0, head = 0): EntryRows {
    const list = this.sequences[row]!.lists[layer * this.choices.length + head]!;
    return {
      keys: Float32Array.from(list.flatMap(({ key }) => key)),
      values: Float32Array.from(list.flatMap(({ value }) => value)),
      positions: Int32Array.from(list, ({ position }) => position),
      counts: Int32Array.from(list, ({ count }) => count),
    };
  }

  /** New tokens go to the end, and everything learns what it receives from them. */
  private add(sequence: NaiveSequence, given: Given, tokens: number, attended: boolean): void {
    const { headDim } = this.script.shape;
    const queries = times(tokens, (token) => sequence.seen + token);
    sequence.lists.forEach((list, index) => {
      const layer = Math.floor(index / this.choices.length);
      const heads = this.choices[index % this.choices.length]!;
      for (const position of queries) {
        const of = (name: 'keys' | 'values') =>
          heads.flatMap((head) => times(headDim, (i) => given.at(name, layer, head, position, i)));
        const [key, value] = [of('keys'), of('values')];
        list.push({ position, count: 1, key, value, received: 0, score: 0, queries: 0 });
      }
      if (!attended) return;
      const window = this.script.windows?.[layer] ?? Number.POSITIVE_INFINITY;
      const attention = heads.map((head) => given.attention(layer, head));
      for (const entry of list) {
        const { position } = entry;
        const seeing = queries.filter((query) => query >= position && query - position < window);
        entry.queries += seeing.length;
        const { peak = false } = sequence.policy;
        const byHead = attention.map((from) =>
          peak
            ? Math.max(
                0,
                ...seeing.filter((query) => query !== position).map((query) => from(query, position)),
              )
            : seeing.reduce((sum, query) => sum + from(query, position), 0),
        );
        entry.received += byHead.reduce((sum, each) => sum + each, 0) / heads.length;
      }
    });
    sequence.seen += tokens;
  }

  private situation({ seen, fresh, image }: NaiveSequence): Situation {
    const { budget } = this;
    const share =
      typeof budget === 'number' ? budget * seen : Math.min(seen, (budget as { tokens: number }).tokens);
    const { windows, shape } = this.script;
    return { share, seen, fresh, image, choices: this.choices.length, headDim: shape.headDim, windows };
  }
}

export function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** The mean of an anchor and what is merged into it, each as often as it has a weight; of no weight at all, the plain mean. */
export function meanOf(
  entries: NaiveEntry[],
  weightOf: (entry: NaiveEntry) => number = ({ count }) => count,
): Pick<NaiveEntry, 'key' | 'value' | 'count'> {
  const given = entries.map(weightOf);
  const weights = given.some((weight) => weight > 0) ? given : given.map(() => 1);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = (name: 'key' | 'value') =>
    entries[0]![name].map((_, i) =>
      Math.fround(
        entries.reduce((sum, entry, member) => sum + weights[member]! * entry[name][i]!, 0) / total,
      ),
    );
  return {
    key: mean('key'),
    value: mean('value'),
    count: entries.reduce((sum, { count }) => sum + count, 0),
  };
}
