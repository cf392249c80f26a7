import type { EntryList } from './entry-list.js';
import type { SlotStore } from './slot-store.js';

export interface LayerStats {
  /** The most over the rows of the batch. */
  readonly tokensHeld: number;
  /** Keys and values of the entries held, over all rows. */
  readonly bytesHeld: number;
  /** The buffers as allocated, empty slots and bias included. */
  readonly bytesAllocated: number;
}

export interface CacheStats extends LayerStats {
  readonly policy: string;
  readonly tokensSeen: number;
  /** The mean over the layers, rounded; the most over the rows of the batch. */
  readonly tokensHeld: number;
  /** What a cache that keeps everything would hold. */
  readonly bytesFull: number;
  readonly layers: readonly LayerStats[];
}

export function collectStats(
  policy: string,
  tokensSeen: number,
  stores: readonly SlotStore[],
  rows: readonly { entries: readonly EntryList[] }[],
): CacheStats {
  let bytesFull = 0;
  const layers = stores.map((store, layer) => {
    const { kvHeads, headDim } = store.shape;
    const bytesPerRow = kvHeads * headDim * 2 * Float32Array.BYTES_PER_ELEMENT;
    const held = rows.map(({ entries }) => entries[layer]!.length);
    bytesFull += rows.length * tokensSeen * bytesPerRow;
    return {
      tokensHeld: Math.max(...held),
      bytesHeld: held.reduce((sum, count) => sum + count * bytesPerRow, 0),
      bytesAllocated: store.bytes,
    };
  });
  const means = rows.map(
    ({ entries }) => entries.reduce((sum, { length }) => sum + length, 0) / entries.length,
  );
  const sum = (name: 'bytesHeld' | 'bytesAllocated') =>
    layers.reduce((total, layer) => total + layer[name], 0);
  return {
    policy,
    tokensSeen,
    tokensHeld: Math.round(Math.max(0, ...means)),
    bytesHeld: sum('bytesHeld'),
    bytesAllocated: sum('bytesAllocated'),
    bytesFull,
    layers,
  };
}
