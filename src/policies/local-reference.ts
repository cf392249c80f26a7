import { type CachePolicy, eachLayer } from '../cache/policy.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { range } from './ranking.js';

/**
 * The baseline `local` as released with Elastic Cache (liuzuyan/ElasticCache): first tokens and a recent window, with the
 * number of entries rounded up instead of down.
 * @throws ElasticCacheError 'invalid-option'
 */
export function localReference(options: PolicyOptions = {}): CachePolicy {
  const { startSize } = checkOptions(options);
  return {
    name: 'local-reference',
    attention: 'never',
    minimum: 0,
    compactPositions: true,
    begin: () =>
      eachLayer({
        compress({ tokens, allowed }) {
          const forget = Math.max(0, Math.trunc(tokens - allowed.share));
          return {
            keep: range(0, tokens).filter((token) => token < startSize || token >= startSize + forget),
          };
        },
        evict: (entries, allowed) =>
          Math.trunc(entries.length - allowed.share) > 0 && entries.length > startSize
            ? entries.at(startSize)
            : -1,
      }),
  };
}
