import type { TurnView } from '../cache/policy.js';
import type { CheckedOptions } from './options.js';

/**
 * [tokens] what tokens are ranked by: attention received, summed over the queries ('sum', over those of the policy's window 'window'), or averaged over
 * those that can see the token. A sum favours early tokens, which every later query sees; the last token of a prompt is seen by one.
 */
export function importanceOf(
  { importance, queries }: TurnView,
  kind: CheckedOptions['importance'],
): Float64Array {
  if (kind !== 'mean') return importance.slice();
  return importance.map((sum, token) => sum / Math.max(1, queries[token]!));
}

/**
 * Each number replaced by the largest of its `kernel` neighbours (an odd count, itself in the middle), those beyond the ends left out: what stands beside an
 * attended token is kept with it (SnapKV, arXiv 2404.14469, section 4.3).
 */
export function maxPooled(scores: Float64Array, kernel: number): Float64Array {
  const reach = (kernel - 1) / 2;
  return scores.map((_, index) => {
    let most = Number.NEGATIVE_INFINITY;
    const end = Math.min(scores.length, index + reach + 1);
    for (let at = Math.max(0, index - reach); at < end; at++) most = Math.max(most, scores[at]!);
    return most;
  });
}

/** Each number replaced by the mean of its `kernel` neighbours (an odd count, itself in the middle), those beyond the ends left out. */
export function meanPooled(scores: Float64Array, kernel: number): Float64Array {
  const reach = (kernel - 1) / 2;
  const means = new Float64Array(scores.length);
  for (let index = 0; index < means.length; index++) {
    const start = Math.max(0, index - reach);
    const end = Math.min(scores.length, index + reach + 1);
    // Summed afresh for each: differences of running sums would break ties by their rounding.
    let sum = 0;
    for (let at = start; at < end; at++) sum += scores[at]!;
    means[index] = sum / (end - start);
  }
  return means;
}
