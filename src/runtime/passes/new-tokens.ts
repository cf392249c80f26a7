import { Tensor } from '#platform/ort.js';
import { ElasticCacheError } from '../../errors.js';

/** New tokens for the decoder. */
export interface DecoderInput {
  /** The new tokens as the decoder takes them: embeddings [B, S, hidden], or ids [B, S]. */
  newTokens: Tensor;
  /** Their positions in the text, [B, S], or [3, B, S] where the model rotates by time, row and column. */
  positionIds: Tensor;
  /** 1 for a token, 0 for padding, [B, S] or more columns of which the last S count; all tokens without it. */
  mask?: Pick<Tensor, 'data' | 'dims'> | undefined;
  /** Logits of the last new token only, or of every new token. */
  logits: 'last' | 'all';
  /** Ends the run before its next pass. */
  signal?: AbortSignal | null | undefined;
}

/** One new token of each sequence. */
export type StepInput = Pick<DecoderInput, 'newTokens' | 'positionIds'>;

/** Throws `invalid-prompt` when a batch of tokens or of their embeddings, [B, S, ..], holds none. */
export function refuseNone({ dims }: Pick<Tensor, 'dims'>): void {
  if (dims[0] !== 0 && dims[1] !== 0) return;
  throw new ElasticCacheError(
    'invalid-prompt',
    `There are no tokens to run (the inputs are of shape [${dims.join(', ')}]); pass at least one.`,
  );
}

/** Positions [.., B, S] moved by an offset for each sequence: a policy may number new tokens by what it holds. */
export function shifted(positionIds: Tensor, offsets: readonly number[]): Tensor {
  if (offsets.every((offset) => offset === 0)) return positionIds;
  const tokens = positionIds.dims.at(-1)!;
  const moved = (positionIds.data as BigInt64Array).map(
    (position, i) => position + BigInt(offsets[Math.floor(i / tokens) % offsets.length]!),
  );
  return new Tensor('int64', moved, positionIds.dims);
}

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
