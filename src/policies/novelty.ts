import { similarity } from '../cache/key-sketch.js';

/**
 * Tokens one after the other, each time the one that is worth most beside those chosen before: importance times (1 - s)^2, where s is the cosine of its key and the
 * chosen key that is most like it (0 or more). Tokens that say the same stand for one another, so that few cover all there is to see: maximal marginal relevance
 * (Carbonell and Goldstein, SIGIR 1998) with a product in place of its sum, which needs no weight between the two. 1 - s is half the squared distance of the
 * keys at length 1, so this is importance times distance to the fourth.
 * @param scores [tokens] importance, 0 or more
 * @param tiers [tokens] a token of a higher tier comes before all of a lower one
 * @param keys [tokens] of [channels], length 1
 * @param count how many to choose
 * @returns [tokens] the chosen in order, then the others; of equal ones the earlier first. O(count x tokens x channels)
 */
export function rankByNovelty(
  scores: Float64Array,
  tiers: Uint8Array,
  keys: readonly Float32Array[],
  count: number,
): Int32Array {
  const nearest = new Float64Array(scores.length);
  const worth = Float64Array.from(scores);
  const left = Array.from(scores.keys());
  const ranked = new Int32Array(scores.length);
  for (let rank = 0; rank < count; rank++) {
    const best = left.reduce((best, token) => {
      const more = tiers[token]! - tiers[best]! || worth[token]! - worth[best]!;
      return more > 0 ? token : best;
    });
    ranked[rank] = best;
    left.splice(left.indexOf(best), 1);
    for (const token of left) {
      const cosine = similarity(keys[token]!, keys[best]!);
      if (cosine <= nearest[token]!) continue;
      nearest[token] = cosine;
      worth[token] = scores[token]! * Math.max(0, 1 - cosine) ** 2;
    }
  }
  ranked.set(left, count);
  return ranked;
}
