import type { Tensor } from '#platform/ort.js';
import type { DecoderSignature } from '../../graph/decoder.js';
import type { KVCache } from '../../memory/kv-cache.js';
import type { LayerRows } from '../../memory/shape.js';
import type { FindSimilar } from '../../memory/turns/most-similar.js';
import type { Pass } from './feeds.js';

/** Whether a prompt is held whole until it is read, or no more of it than is kept and one chunk. */
export const PEAKS = ['prompt', 'bounded'] as const;
export type PeakMemory = (typeof PEAKS)[number];

/** What reads: a decoder. */
export interface Reader {
  readonly signature: Pick<DecoderSignature, 'longestText'>;
  readonly chunk: number;
  /** New tokens of one pass at most, where so many rows are attended to. */
  chunkFor(rows: number): number;
  readonly peak: PeakMemory;
  readonly similar: { readonly find: FindSimilar };
  pass(cache: KVCache, pass: Pass): Promise<{ layers: LayerRows[]; logits: Tensor | undefined }>;
}
