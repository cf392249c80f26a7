import { KVCache, type KVCacheOptions } from './cache/kv-cache.js';
import type { CachePolicy } from './cache/policy.js';
import { refuseUnknown } from './options.js';
import { invalid, OPTIONS, type PolicyOptions } from './policies/options.js';
import { createPolicy, DEFAULT_POLICY, type PolicySpec } from './policies/registry.js';

export interface ElasticCacheOptions extends Partial<Omit<KVCacheOptions, 'policy'>>, PolicyOptions {
  /**
   * Name of the policy, with options of its own or without (`elastic:merging=none`), or a policy: one of your own, or what
   * `createPolicy()` makes of a name that is known at run time only. 'snapkv' unless told.
   */
  readonly policy?: PolicySpec | CachePolicy;
}

const OWN_OPTIONS = ['policy', 'budget', 'layers', 'kvHeads', 'headDim', 'batch'];

/**
 * The cache that is handed to `generate` as `past_key_values`, or driven by hand.
 * @example
 * const cache = new ElasticCache({ budget: 0.2 });
 * await model.generate({ ...inputs, past_key_values: cache });
 * cache.stats();
 */
export class ElasticCache extends KVCache {
  /** @throws ElasticCacheError 'unknown-policy', 'invalid-policy', 'invalid-option', 'invalid-budget' or 'invalid-shape' */
  constructor(given: ElasticCacheOptions = {}) {
    refuseUnknown('ElasticCache', given, [...OWN_OPTIONS, ...OPTIONS]);
    const { policy = DEFAULT_POLICY, budget = 0.2, layers, kvHeads, headDim, batch, ...options } = given;
    super({ policy: madePolicy(policy, options), budget, layers, kvHeads, headDim, batch });
  }
}

function madePolicy(policy: string | CachePolicy, options: PolicyOptions): CachePolicy {
  if (typeof policy === 'string') return createPolicy(policy, options, 'refused');
  const idle = Object.entries(options).find(([, value]) => value !== undefined)?.[0];
  if (idle === undefined) return policy;
  throw invalid(
    `${idle} is for policies by name, and policy is an object; give it to what makes that object, such as createPolicy().`,
  );
}
