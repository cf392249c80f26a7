import type { Lanes } from './lanes.js';
import { bytesPerHead } from './rows/formats.js';
import type { ModelShape } from './shape.js';
import type { Turn } from './turns/turn.js';

export interface LayerStats {
  /** Entries in each head, on average where these hold different numbers; the most over the sequences. */
  readonly tokensHeld: number;
  /** Keys and values of the entries held, over all sequences, in the format in which they are held. */
  readonly bytesHeld: number;
  /** The memory as allocated, empty rows and bias included, and what is kept of a turn while it is read. */
  readonly bytesAllocated: number;
}

export interface CacheStats extends LayerStats {
  readonly policy: string;
  readonly tokensSeen: number;
  /** The mean over the layers, rounded; the most over the sequences. */
  readonly tokensHeld: number;
  /** What a cache that keeps everything would hold in the unmodified decoder, in its own number format. */
  readonly bytesFull: number;
  readonly layers: readonly LayerStats[];
}

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

export function collectStats(
  policy: string,
  tokensSeen: number,
  lanes: Pick<Lanes, 'blocks' | 'sequences'> | undefined,
  shape: ModelShape | undefined,
  turns: readonly (Turn | undefined)[],
): CacheStats {
  const { blocks, sequences } = lanes ?? { blocks: [], sequences: [] };
  const seen = sequences.reduce((sum, sequence) => sum + sequence.seen, 0);
  const layers = blocks.map((block, layer) => {
    const { kvHeads, headDim, format } = block.shape;
    const held = sequences.map((sequence) => total(sequence.heldBy(layer, kvHeads)));
    return {
      tokensHeld: Math.round(Math.max(...held) / kvHeads),
      bytesHeld: total(held) * bytesPerHead(format, headDim),
      bytesAllocated: block.bytes + turns.reduce((bytes, turn) => bytes + (turn?.bytes(layer) ?? 0), 0),
    };
  });
  const means = sequences.map(
    ({ lists }) => total(lists.flat().map(({ length }) => length)) / lists.flat().length,
  );
  const sum = (name: 'bytesHeld' | 'bytesAllocated') =>
    layers.reduce((total, layer) => total + layer[name], 0);
  return {
    policy,
    tokensSeen,
    tokensHeld: Math.round(Math.max(0, ...means)),
    bytesHeld: sum('bytesHeld'),
    bytesAllocated: sum('bytesAllocated'),
    bytesFull: shape
      ? seen * shape.layers * shape.kvHeads * bytesPerHead(shape.stockFormat, shape.headDim)
      : 0,
    layers,
  };
}
