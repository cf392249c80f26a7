import type { Entries } from '../cache/policy.js';
import type { Repetition } from './repetition.js';

/** The slot of the entry that a layer gives up next; `held` is how many it may hold. */
export type Evictor = (entries: Entries, held: number) => number;

/**
 * The place in a compressed prompt at which entries are removed (Elastic Cache, section 3.3): `distance` entries before its end, or after
 * its start where positive, but never among the first `startSize`.
 */
export function fixedPointOf(held: number, startSize: number, distance: number): number {
  return Math.max(startSize, distance < 0 ? held + distance : Math.min(distance, held - 1));
}

/** Removes whatever stands at `place`: first in, first out for all that comes after it. Never the newest entry. */
export function atPlace(place: number): Evictor {
  return (entries) => entries.at(Math.min(place, entries.length - 2));
}

/**
 * Removes the lowest ranked entries of the prompt until `place` of them are left, then whatever stands behind those: the same number of prompt
 * entries stays for good as with {@link atPlace}, but the best ranked ones instead of the first. O(1) for each removal.
 * @param keep [kept] tokens of the prompt that are held, ascending
 * @param ranked tokens of the prompt in the order in which they are kept; the first `keep.length` are those held
 */
export function lowestFirst(keep: Int32Array, ranked: () => Int32Array, place: number): Evictor {
  const prompt = new HeldPrompt(keep, ranked);
  const fixed = atPlace(place);
  return (entries, held) => (prompt.left > place ? prompt.lowest(entries) : fixed(entries, held));
}

/**
 * Removes the lowest ranked entries of the prompt while they are more than half of what is held and more than `startSize`, and else, of the entries that came after it,
 * the one most repeated by those after it; of equal ones the earliest. Never the newest entry. O(held) for each removal.
 */
export function repeatedFirst(
  keep: Int32Array,
  ranked: () => Int32Array,
  startSize: number,
  repetition: Repetition,
): Evictor {
  const prompt = new HeldPrompt(keep, ranked);
  return (entries, held) => {
    if (prompt.left > Math.max(startSize, held / 2)) return prompt.lowest(entries);
    // A prompt may be shorter than the tokens that must stay.
    let most = entries.at(Math.max(startSize, prompt.left));
    let repeated = repetition.of(entries.position(most));
    for (let slot = entries.next(most); slot !== entries.last; slot = entries.next(slot)) {
      const other = repetition.of(entries.position(slot));
      if (other > repeated) [most, repeated] = [slot, other];
    }
    repetition.letGo(entries.position(most));
    return most;
  };
}

/** The entries of a prompt that a layer still holds, the lowest ranked to go first. */
class HeldPrompt {
  left: number;
  #slots: Map<number, number>;
  #ranked: Int32Array | undefined;

  /** @param ranked called when the first has to go */
  constructor(
    keep: Int32Array,
    private readonly ranked: () => Int32Array,
  ) {
    this.left = keep.length;
    this.#slots = new Map(Array.from(keep, (token, slot) => [token, slot]));
  }

  /** The slot of the lowest ranked, which is then no longer counted. */
  lowest(entries: Entries): number {
    this.#ranked ??= this.ranked();
    const token = this.#ranked[--this.left]!;
    // A turn of many tokens moves entries to other slots.
    if (entries.position(this.#slots.get(token)!) !== token) this.#slots = slotsOf(entries);
    return this.#slots.get(token)!;
  }
}

/** The slot of each entry by its position. */
function slotsOf(entries: Entries): Map<number, number> {
  const slots = new Map<number, number>();
  for (let slot = entries.first; slot >= 0; slot = entries.next(slot))
    slots.set(entries.position(slot), slot);
  return slots;
}
