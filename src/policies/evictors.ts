import type { Entries } from '../cache/policy.js';

/** The slot of the entry that a layer gives up next. */
export type Evictor = (entries: Entries) => number;

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
export function lowestFirst(keep: Int32Array, ranked: Int32Array, place: number): Evictor {
  // Ascending in rank, so that the next to go is the last.
  const queue = Array.from(ranked.subarray(Math.min(place, keep.length), keep.length));
  let slots = new Map(Array.from(keep, (token, slot) => [token, slot]));
  const fixed = atPlace(place);
  return (entries) => {
    const token = queue.pop();
    if (token === undefined) return fixed(entries);
    // A turn of many tokens moves entries to other slots.
    if (entries.position(slots.get(token)!) !== token) slots = slotsOf(entries);
    return slots.get(token)!;
  };
}

/** The slot of each entry by its position. */
function slotsOf(entries: Entries): Map<number, number> {
  const slots = new Map<number, number>();
  for (let slot = entries.first; slot >= 0; slot = entries.next(slot))
    slots.set(entries.position(slot), slot);
  return slots;
}
