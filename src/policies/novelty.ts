import { similarity } from '../cache/similarity.js';
import { rankTokens } from './ranked-tokens.js';

/**
 * Tokens one after the other, each time the one that is worth most beside those chosen before: importance times (1 - s)^2, where s is the cosine of its key and the
 * chosen key that is most like it (0 or more). Tokens that say the same stand for one another, so that few cover all there is to see: maximal marginal relevance
 * (Carbonell and Goldstein, SIGIR 1998) with a product in place of its sum, which needs no weight between the two. 1 - s is half the squared distance of the
 * keys at length 1, so this is importance times distance to the fourth.
 *
 * What a token is worth only falls, so it is compared with another that was chosen only while it comes first (lazy greedy, Minoux 1978): about a third of all
 * comparisons for an image. O(count x tokens x channels) at the most.
 * @param scores [tokens] importance, 0 or more
 * @param tiers [tokens] a token of a higher tier comes before all of a lower one
 * @param keys [tokens] of [channels], length 1
 * @param count how many to choose
 * @returns [tokens] the chosen in order, of equal ones the earlier first; then the others by tier and importance
 */
export function rankByNovelty(
  scores: Float64Array,
  tiers: Uint8Array,
  keys: readonly Float32Array[],
  count: number,
): Int32Array {
  const worth = Float64Array.from(scores);
  const nearest = new Float64Array(scores.length);
  const compared = new Int32Array(scores.length);
  const ranked = rankTokens(scores, tiers);
  for (let rank = 0; rank < count; ) {
    // What stands from `rank` on is left, in the order of importance.
    let at = rank;
    // What the next one of the same tier is worth.
    let second = Number.NEGATIVE_INFINITY;
    for (let other = rank + 1; other < ranked.length; other++) {
      const token = ranked[other]!;
      const best = ranked[at]!;
      const higher = tiers[token]! - tiers[best]!;
      const more = higher || worth[token]! - worth[best]! || best - token;
      if (higher === 0) second = Math.max(second, more > 0 ? worth[best]! : worth[token]!);
      if (more > 0) at = other;
    }
    const best = ranked[at]!;
    if (compared[best] === rank) {
      ranked.copyWithin(rank + 1, rank, at);
      ranked[rank++] = best;
      continue;
    }
    do {
      const cosine = similarity(keys[best]!, keys[ranked[compared[best]!++]!]!);
      if (cosine <= nearest[best]!) continue;
      nearest[best] = cosine;
      worth[best] = scores[best]! * Math.max(0, 1 - cosine) ** 2;
    } while (compared[best]! < rank && worth[best]! >= second);
  }
  return ranked;
}
