import type { Allowance } from './policy.js';
import { relocate } from './rebuild.js';
import type { Sequence } from './received.js';
import { headroom, type SlotStore } from './slot-store.js';

/**
 * Lets the policies bring every layer down to what is allowed.
 * @param stores [layers] replaced in place where memory is given back
 * @param roomFor capacity to allocate for so many slots
 */
export function evict(
  stores: SlotStore[],
  sequences: readonly Sequence[],
  allowed: Allowance,
  roomFor: (slots: number) => number,
): void {
  stores.forEach((store, layer) => {
    const rows = sequences.map(({ entries }) => entries[layer]!);
    sequences.forEach(({ policy }, row) => {
      const list = rows[row]!;
      const next = () => policy.evict(list, allowed, layer);
      for (let slot = next(); slot >= 0; slot = next()) {
        list.remove(slot);
        store.clear(row, slot);
      }
    });
    const needed = rows.reduce((most, list) => Math.max(most, list.length), 0) + 1;
    // After a turn of many tokens most slots are empty: give their memory back.
    if (store.capacity > needed + 2 * headroom(needed))
      stores[layer] = relocate(store, rows, roomFor(needed));
  });
}
