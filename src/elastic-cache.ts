import { KVCache, type KVCacheOptions } from './cache/kv-cache.js';
import type { PolicyOptions } from './policies/options.js';
import { createPolicy } from './policies/registry.js';

export interface ElasticCacheOptions extends Partial<Omit<KVCacheOptions, 'policy'>>, PolicyOptions {
  /** Name of the policy, with options of its own or without (`elastic:merging=none`); 'elastic' unless told. */
  readonly policy?: string;
}

/**
 * The cache that is handed to `generate` as `past_key_values`, or driven by hand.
 * @example
 * const cache = new ElasticCache({ budget: 0.2 });
 * await model.generate({ ...inputs, past_key_values: cache });
 * cache.stats();
 */
export class ElasticCache extends KVCache {
  /** @throws ElasticCacheError 'unknown-policy', 'invalid-option', 'invalid-budget' or 'invalid-shape' */
  constructor({
    policy = 'elastic',
    budget = 0.2,
    layers,
    kvHeads,
    headDim,
    batch,
    ...options
  }: ElasticCacheOptions = {}) {
    super({ policy: createPolicy(policy, options), budget, layers, kvHeads, headDim, batch });
  }
}
