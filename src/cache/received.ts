import type { EntryList } from './entry-list.js';
import type { SequencePolicy } from './policy.js';
import type { LayerRows } from './shape.js';

/** One row of the batch: the state of its policy and, for each layer, its entries. */
export interface Sequence {
  readonly policy: SequencePolicy;
  readonly entries: readonly EntryList[];
}

/** The attention that comes with new rows. */
export interface Received {
  /** [layers] attention [rows, held + tokens] in logical order, or [rows, capacity + tokens] by slot */
  readonly layers: readonly LayerRows[];
  /** How many of the entries are new. */
  readonly tokens: number;
  readonly bySlot: boolean;
  /** [layers] capacity before the new rows */
  readonly capacities: readonly number[];
}

/** Tells every entry what it received: added to the importance of a prompt, handed to the policy after that. */
export function observe(sequences: readonly Sequence[], given: Received, prefilled: boolean): void {
  const { layers, tokens, bySlot, capacities } = given;
  const read = layers.map(() => 0);
  sequences.forEach(({ policy, entries }) => {
    const received = entries.map((list, layer) => {
      const start = read[layer]!;
      read[layer] = start + (bySlot ? capacities[layer]! + tokens : list.length);
      const own = layers[layer]!.attention!.subarray(start, read[layer]);
      return bySlot ? fromSlots(list, own, capacities[layer]!, tokens) : fromLogical(list, own);
    });
    if (prefilled) policy.observe?.(entries, received);
    else entries.forEach((list, layer) => void addTo(list.scores, received[layer]!));
  });
}

/** [held] in logical order -> by slot, as policies take it. */
function fromLogical(list: EntryList, attention: Float32Array): Float32Array {
  const received = new Float32Array(list.scores.length);
  for (let slot = list.first, index = 0; slot >= 0; slot = list.next(slot))
    received[slot] = attention[index++]!;
  return received;
}

/** [capacity + tokens], slots as they were before `tokens` new entries, then those -> by slot. */
function fromSlots(list: EntryList, attention: Float32Array, capacity: number, tokens: number): Float32Array {
  const received = new Float32Array(list.scores.length);
  received.set(attention.subarray(0, Math.min(capacity, received.length)));
  for (let slot = list.last, token = tokens - 1; token >= 0; slot = list.previous(slot), token--) {
    received[slot] = attention[capacity + token]!;
  }
  return received;
}

function addTo(sums: Float64Array, received: Float32Array): void {
  received.forEach((value, slot) => {
    sums[slot]! += value;
  });
}
