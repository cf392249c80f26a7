import { DEFAULT_BUDGET } from './cache/budget.js';
import type { CachePolicy } from './cache/policy.js';
import { ElasticCacheError } from './errors.js';
import { KVCache } from './memory/kv-cache.js';
import { decodeSnapshot, encodeSnapshot } from './memory/saving/snapshot.js';
import type { KVCacheOptions } from './memory/shape.js';
import { refuseUnknown } from './options.js';
import { invalid, OPTIONS, type PolicyOptions } from './policies/options.js';
import { createPolicy, DEFAULT_POLICY, type PolicySpec } from './policies/registry.js';

export interface ElasticCacheOptions extends Partial<Omit<KVCacheOptions, 'policy'>>, PolicyOptions {
  /**
   * Name of the policy, with options of its own or without (`elastic:merging=none`), or a policy: one of your own, or what
   * `createPolicy()` makes of a name that is known at run time only. 'elastic-plus' unless told.
   */
  readonly policy?: PolicySpec | CachePolicy;
}

const OWN_OPTIONS = [
  'policy',
  'budget',
  'layers',
  'kvHeads',
  'headDim',
  'batch',
  'format',
  'stockFormat',
  'model',
];

/**
 * The cache that is handed to `generate` as `past_key_values`, or driven by hand.
 * @example
 * const cache = new ElasticCache({ budget: 0.2 });
 * await model.generate({ ...inputs, past_key_values: cache });
 * cache.stats();
 */
export class ElasticCache extends KVCache {
  /** What its policy was made of. */
  readonly #made: { readonly policy: string | CachePolicy; readonly options: PolicyOptions };

  /** @throws ElasticCacheError 'unknown-policy', 'invalid-policy', 'invalid-option', 'invalid-budget' or 'invalid-shape' */
  constructor(given: ElasticCacheOptions = {}) {
    refuseUnknown('ElasticCache', given, [...OWN_OPTIONS, ...OPTIONS]);
    const { policy = DEFAULT_POLICY, budget = DEFAULT_BUDGET, layers, kvHeads, headDim, ...rest } = given;
    const { batch, format, stockFormat, model, ...options } = rest;
    const shape = { layers, kvHeads, headDim, batch, format, stockFormat, model };
    super({ policy: madePolicy(policy, options), budget, ...shape });
    this.#made = { policy, options };
  }

  /**
   * A cache that holds the same and goes its own way from here: another question about the same image, a beam, a turn that can be undone. Cheap: what is held is copied, nothing is read again.
   * @throws ElasticCacheError 'invalid-policy' for a policy of your own without a save()
   */
  override fork(): ElasticCache {
    const { policy, options } = this.#made;
    const fork = new ElasticCache({ ...options, policy: policy as PolicySpec, budget: this.budget });
    fork.takeOver(this);
    return fork;
  }

  /**
   * Everything that is held and remembered, as a file in safetensors format, to go on from it in another process ({@link ElasticCache.load}).
   * @throws ElasticCacheError 'invalid-shape' for a cache that no model has used, 'invalid-policy' for a policy of your own without a save()
   */
  save(): Uint8Array {
    const { policy, options } = this.#made;
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    return encodeSnapshot({
      ...this.snapshot(),
      options: Object.fromEntries(given),
      own: typeof policy !== 'string',
    });
  }

  /**
   * A cache as it was when {@link save} wrote it. The model that it was made with is the only one that takes it; others refuse it with the code `model-mismatch`.
   * @param policy the policy, where it is one of your own
   * @throws ElasticCacheError 'invalid-data' for bytes that are no saved cache, 'invalid-policy' for a policy of your own that is not given
   */
  static load(bytes: Uint8Array, options: { policy?: CachePolicy } = {}): ElasticCache {
    refuseUnknown('ElasticCache.load', options, ['policy']);
    if (!(bytes instanceof Uint8Array)) {
      throw new ElasticCacheError('invalid-data', 'a saved cache is read from its bytes, as a Uint8Array.');
    }
    const { policy } = options;
    const saved = decodeSnapshot(bytes);
    if (saved.own && policy?.name !== saved.policy) {
      throw new ElasticCacheError(
        'invalid-policy',
        `this cache was saved under "${saved.policy}", a policy of your own; give it as policy.`,
      );
    }
    const made = saved.own ? { policy } : { ...saved.options, policy: saved.policy as PolicySpec };
    const cache = new ElasticCache({ ...(made as ElasticCacheOptions), budget: saved.budget });
    cache.restore(saved);
    return cache;
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
