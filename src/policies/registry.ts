import type { CachePolicy } from '../cache/policy.js';
import { ElasticCacheError } from '../errors.js';
import { elastic } from './elastic.js';
import { elasticReference } from './elastic-reference.js';
import { full } from './full.js';
import { h2o } from './h2o.js';
import { h2oReference } from './h2o-reference.js';
import { local } from './local.js';
import { localReference } from './local-reference.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { prefixkv } from './prefixkv.js';
import { presetPolicies } from './presets.js';
import { pyramidkv } from './pyramidkv.js';
import { snapkv } from './snapkv.js';
import { parsePolicySpec } from './spec.js';

const policies = {
  elastic: {
    create: elastic,
    description: 'merge into the most attended tokens, then remove at a fixed point (the paper)',
  },
  'elastic-reference': {
    create: elasticReference,
    description: "the authors' released Elastic Cache, index for index",
  },
  full: { create: full, description: 'keep everything, whatever the budget' },
  h2o: {
    create: h2o,
    description: 'keep the tokens with the most accumulated attention, and the recent ones',
  },
  'h2o-reference': {
    create: h2oReference,
    description: "the authors' released H2O baseline, index for index",
  },
  local: { create: local, description: 'keep the first tokens and a recent window (StreamingLLM)' },
  'local-reference': {
    create: localReference,
    description: "the authors' released local baseline, index for index",
  },
  snapkv: {
    create: snapkv,
    description: 'keep the last tokens and what they attend to (SnapKV)',
  },
  pyramidkv: {
    create: pyramidkv,
    description: 'as snapkv, with fewer entries from layer to layer (PyramidKV)',
  },
  prefixkv: {
    create: prefixkv,
    description: 'keep the most attended tokens, as many as make the same share in every layer (PrefixKV)',
  },
  ...presetPolicies,
} satisfies Record<string, { create: (options: PolicyOptions) => CachePolicy; description: string }>;

export type PolicyName = keyof typeof policies;

export const policyNames = Object.keys(policies) as PolicyName[];

/** One line for help texts and docs. */
export function describePolicy(name: PolicyName): string {
  return policies[name].description;
}

/**
 * Makes a policy.
 * @param spec its name, or its name and options of its own: `elastic:merging=none:distance=-40`
 * @param options what is undefined counts as not given; options in the spec come first
 * @throws ElasticCacheError 'unknown-policy' or 'invalid-option'
 */
export function createPolicy(spec: string, options: PolicyOptions = {}): CachePolicy {
  const { name, options: own } = parsePolicySpec(spec);
  if (!Object.hasOwn(policies, name)) {
    throw new ElasticCacheError(
      'unknown-policy',
      `policy "${name}" is unknown; choose one of ${policyNames.join(', ')}.`,
    );
  }
  const given = Object.entries({ ...options, ...own }).filter(([, value]) => value !== undefined);
  const all: PolicyOptions = Object.fromEntries(given);
  checkOptions(all);
  return { ...policies[name as PolicyName].create(all), name: spec };
}
