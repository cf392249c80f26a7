import { createHash } from 'node:crypto';
import { ElasticCacheError } from '../../errors.js';

/** What options are chosen on, and what is reported: no seed and no document is in both. */
export const SPLITS = ['dev', 'report'] as const;
export type Split = (typeof SPLITS)[number];

/** Whether a record or a text is in a split: by its name alone, about half of them in each, so that it stays there when others are added. */
export function inSplit(name: string, split: Split | undefined): boolean {
  if (split === undefined) return true;
  const half = createHash('sha256').update(name).digest()[0]! % 2;
  return SPLITS[half] === split;
}

/**
 * The first of `count` seeds in a split: those below `half` are for development, and those of the report are as far above.
 * @throws ElasticCacheError 'invalid-option' when they reach into the other
 */
export function seedIn(
  split: Split | undefined,
  seed: number,
  count: number,
  half: number,
  source: string,
): number {
  if (split === undefined) return seed;
  if (seed + count > half) {
    throw new ElasticCacheError(
      'invalid-option',
      `data "${source}" with ${count} samples goes beyond seed ${half - 1}, and with --split seeds are below ${half}; give a smaller seed.`,
    );
  }
  return split === 'dev' ? seed : seed + half;
}
