import { type CachePolicy, eachLayer, keepAll } from '../cache/policy.js';

/** Keeps everything, whatever the budget: the baseline. */
export function full(): CachePolicy {
  return {
    name: 'full',
    attention: 'never',
    minimum: Number.MAX_SAFE_INTEGER,
    begin: () => eachLayer({ compress: ({ tokens }) => keepAll(tokens), evict: () => -1 }),
  };
}
