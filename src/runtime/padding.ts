import { ElasticCacheError } from '../errors.js';
import type { Tensor } from './ort.js';

/**
 * Which of the new tokens of each sequence are tokens and not padding: [B] of places among the S new ones.
 * @param mask [B, S] or more columns, of which the last S count; 1 for a token. All are tokens without it.
 * @throws ElasticCacheError 'invalid-prompt' for a sequence of nothing but padding
 */
export function realTokens(
  batch: number,
  tokens: number,
  mask: Pick<Tensor, 'data' | 'dims'> | undefined,
): number[][] {
  const columns = mask?.dims[1] ?? tokens;
  return Array.from({ length: batch }, (_, row) => {
    const places: number[] = [];
    for (let token = 0; token < tokens; token++) {
      const at = row * columns + columns - tokens + token;
      if (!mask || (mask.data as BigInt64Array)[at] !== 0n) places.push(token);
    }
    if (places.length > 0) return places;
    throw new ElasticCacheError(
      'invalid-prompt',
      `attention_mask marks every new token of prompt ${row} as padding; give each prompt one token at least.`,
    );
  });
}
