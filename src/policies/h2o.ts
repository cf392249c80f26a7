import { type CachePolicy, eachLayer, keepAll } from '../cache/policy.js';
import { LeastAttended, recentOf } from './evictors.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { concat, highest, range } from './ranking.js';

/**
 * Heavy hitters by accumulated attention (H2O, Zhang et al., NeurIPS 2023, arXiv 2306.14048), every layer by itself.
 *
 * The first `startSize` entries and the most recent ones are protected: half of what is allowed beyond `startSize`,
 * rounded down, at least 1. The rest are those that received the most attention since they entered. Of equal scores the
 * later entry goes at the prompt, the earlier one while decoding.
 * @throws ElasticCacheError 'invalid-option'
 */
export function h2o(options: PolicyOptions = {}): CachePolicy {
  const { startSize } = checkOptions(options);
  const leastAttended = new LeastAttended(startSize);
  return {
    name: 'h2o',
    attention: 'always',
    minimum: startSize + 1,
    begin: () =>
      eachLayer({
        compress({ tokens, importance, allowed }) {
          if (tokens <= allowed.entries) return keepAll(tokens);
          const recent = recentOf(allowed.entries, startSize);
          const heavy = highest(importance, startSize, tokens - recent, allowed.entries - startSize - recent);
          return { keep: concat(range(0, startSize), heavy, range(tokens - recent, tokens)) };
        },
        observe({ scores }, received) {
          received.forEach((value, row) => {
            scores[row]! += value;
          });
        },
        evict: (entries, allowed) =>
          entries.length > allowed.entries ? leastAttended.next(entries, allowed.entries) : -1,
      }),
  };
}
