import type { CachePolicy } from '../cache/policy.js';
import { createPolicy, type PolicySpec } from '../policies/registry.js';

/** Policies that are remembered by name. */
const MOST = 100;

/** The same policy for the same name: sequences under it may go on from one another. */
export class NamedPolicies {
  readonly #byName = new Map<string, CachePolicy>();
  readonly #names = new WeakMap<CachePolicy, string>();

  /** @throws ElasticCacheError 'unknown-policy' or 'invalid-policy' */
  of(name: PolicySpec): CachePolicy {
    const policy = this.#byName.get(name) ?? createPolicy(name);
    if (this.#byName.size >= MOST) this.#byName.clear();
    this.#byName.set(name, policy);
    this.#names.set(policy, name);
    return policy;
  }

  /** What a policy was named; undefined for one of a user's own. */
  nameOf(policy: CachePolicy): string | undefined {
    return this.#names.get(policy);
  }
}
