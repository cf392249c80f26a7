import { type CachePolicy, eachLayer, keepAll } from '../cache/policy.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { concat, range } from './ranking.js';

/**
 * The first `startSize` tokens and the most recent ones (StreamingLLM, Xiao et al., arXiv 2309.17453).
 * @throws ElasticCacheError 'invalid-option'
 */
export function local(options: PolicyOptions = {}): CachePolicy {
  const { startSize } = checkOptions(options);
  return {
    name: 'local',
    attention: 'never',
    minimum: startSize + 1,
    begin: () =>
      eachLayer({
        compress({ tokens, allowed }) {
          if (tokens <= allowed.entries) return keepAll(tokens);
          const recent = allowed.entries - startSize;
          return { keep: concat(range(0, startSize), range(tokens - recent, tokens)) };
        },
        evict: (entries, allowed) => (entries.length > allowed.entries ? entries.at(startSize) : -1),
      }),
  };
}
