import type { TurnView } from '../cache/policy.js';
import { descending } from './ranking.js';

/** The candidates of one choice, put in order. */
export interface RankedTurn extends TurnView {
  /** [tokens] what candidates are ranked by */
  readonly scores: Float64Array;
  /** [tokens] how long each value is, by the mean of its layer, for a policy that looks at it */
  readonly lengths?: Float64Array | undefined;
  /** [tokens] candidates in the order in which they are kept; those that do not fit in any order. Worked out when first asked for. */
  readonly ranked: () => Int32Array;
}

/** Which tokens of a prompt go before all others, whatever their score: the higher number first. */
export const TIER = { start: 4, end: 3, window: 2, text: 1 } as const;

/** [tokens] the first `startSize` and the last `endSize` are always kept, the rest by score. */
export function protectedEnds(tokens: number, startSize: number, endSize: number): Uint8Array {
  const tiers = new Uint8Array(tokens);
  tiers.fill(TIER.end, Math.max(0, tokens - endSize));
  tiers.fill(TIER.start, 0, startSize);
  return tiers;
}

/** [tokens] the tokens of a prompt in the order in which they are kept: by tier, then by score; of equal ones the earlier first. */
export function rankTokens(scores: Float64Array, tiers: Uint8Array): Int32Array {
  const ranked = new Int32Array(scores.length);
  let start = 0;
  for (let tier: number = TIER.start; tier >= 0; tier--) {
    // Here for now, in order of their score below.
    const tokens = ranked.subarray(start);
    let count = 0;
    for (let token = 0; token < tiers.length; token++) if (tiers[token] === tier) tokens[count++] = token;
    tokens.set(descending(scores, tokens.subarray(0, count)));
    start += count;
  }
  return ranked;
}
