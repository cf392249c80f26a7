import { Tensor } from '#platform/ort.js';
import { gaussian } from '../graph/gqa-decoder.js';

/** Random embeddings of one sequence, [1, tokens, hidden], from a position on. */
export function tokenInput(hidden: number, tokens: number, start: number, seed: number) {
  const embeds = Float32Array.from({ length: tokens * hidden }, gaussian(seed));
  const positions = BigInt64Array.from({ length: tokens }, (_, i) => BigInt(start + i));
  return {
    newTokens: new Tensor('float32', embeds, [1, tokens, hidden]),
    positionIds: new Tensor('int64', positions, [1, tokens]),
    logits: 'last' as const,
  };
}
