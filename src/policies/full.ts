import { type CachePolicy, eachLayer, keepAll } from '../cache/policy.js';

/** Keeps everything, whatever the budget: the baseline. */
export function full(): CachePolicy {
  return {
    name: 'full',
    attention: 'never',
    minimum: 0,
    begin: () => eachLayer({ compress: ({ tokens }) => keepAll(tokens), evict: () => -1 }),
  };
}
