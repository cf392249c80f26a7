import type { EntryList } from './entry-list.js';

/** [held] in logical order -> by slot, as policies take it. */
export function fromLogical(list: EntryList, attention: Float32Array): Float32Array {
  const received = new Float32Array(list.scores.length);
  for (let slot = list.first, index = 0; slot >= 0; slot = list.next(slot))
    received[slot] = attention[index++]!;
  return received;
}

/** [capacity + tokens], slots as they were before `tokens` new entries, then those -> by slot. */
export function fromSlots(
  list: EntryList,
  attention: Float32Array,
  capacity: number,
  tokens: number,
): Float32Array {
  const received = new Float32Array(list.scores.length);
  received.set(attention.subarray(0, Math.min(capacity, received.length)));
  for (let slot = list.last, token = tokens - 1; token >= 0; slot = list.previous(slot), token--) {
    received[slot] = attention[capacity + token]!;
  }
  return received;
}

export function addTo(sums: Float64Array, received: Float32Array): void {
  received.forEach((value, slot) => {
    sums[slot]! += value;
  });
}
