import { Tensor } from '#platform/ort.js';
import { ElasticCacheError } from '../../errors.js';

/**
 * A decoder's tables of rotation, one behind the other: a prompt of at most `lengths[0]` tokens, and all that comes after it, turns by
 * the first, one of at most `lengths[1]` by the second, and so on (dynamic NTK as Qwen's first models have it).
 */
export interface RopeStages {
  readonly lengths: readonly number[];
  /** Positions of each table. */
  readonly positions: number;
}

/** What a config says of them; undefined where it says nothing. */
export function ropeStages(config: object): RopeStages | undefined {
  const { rope_stages: lengths, max_position_embeddings: positions } = Object(
    (config as { text_config?: unknown }).text_config,
  );
  return Array.isArray(lengths) ? { lengths, positions } : undefined;
}

/**
 * The positions [B, S] of tokens as the rows of the tables by which they turn.
 * @param firstTurns [B] tokens of each sequence's first prompt
 * @throws ElasticCacheError 'context-full' for positions beyond a table
 */
export function rowsOfStages(
  positions: Tensor,
  firstTurns: readonly number[],
  { lengths, positions: rows }: RopeStages,
): Tensor {
  const tokens = positions.dims.at(-1)!;
  const starts = firstTurns.map((first) => {
    const stage = lengths.findIndex((length) => first <= length);
    return BigInt(rows * (stage < 0 ? lengths.length - 1 : stage));
  });
  const moved = (positions.data as BigInt64Array).map((position, i) => {
    if (position < BigInt(rows)) return position + starts[Math.floor(i / tokens)]!;
    throw new ElasticCacheError(
      'context-full',
      `The text goes on to token ${position + 1n} and this model takes ${rows} at most, whatever its cache keeps of them; shorten it, or begin another conversation.`,
    );
  });
  return new Tensor('int64', moved, positions.dims);
}
