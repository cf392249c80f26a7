import { type CachePolicy, type Entries, eachLayer, keepAll } from '../cache/policy.js';
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
  const recentOf = (allowed: number) => Math.max(1, Math.floor((allowed - startSize) / 2));
  return {
    name: 'h2o',
    attention: 'always',
    minimum: startSize + 1,
    begin: () =>
      eachLayer({
        compress({ tokens, importance, allowed }) {
          if (tokens <= allowed.entries) return keepAll(tokens);
          const recent = recentOf(allowed.entries);
          const heavy = highest(importance, startSize, tokens - recent, allowed.entries - startSize - recent);
          return { keep: concat(range(0, startSize), heavy, range(tokens - recent, tokens)) };
        },
        observe({ scores }, received) {
          received.forEach((value, row) => {
            scores[row]! += value;
          });
        },
        evict: (entries, allowed) =>
          entries.length > allowed.entries ? lowest(entries, startSize, recentOf(allowed.entries)) : -1,
      }),
  };
}

/** The row with the smallest score, leaving out the first `start` and the last `recent` entries. */
function lowest(entries: Entries, start: number, recent: number): number {
  let row = entries.at(start);
  let least = row;
  for (let index = start; index < entries.length - recent; index++) {
    if (entries.scores[row]! < entries.scores[least]!) least = row;
    row = entries.next(row);
  }
  return least;
}
