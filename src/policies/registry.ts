import type { CachePolicy } from '../cache/policy.js';
import { ElasticCacheError } from '../errors.js';
import { elastic } from './elastic.js';
import { elasticReference } from './elastic-reference.js';
import { full } from './full.js';
import { h2o } from './h2o.js';
import { h2oReference } from './h2o-reference.js';
import { local } from './local.js';
import { localReference } from './local-reference.js';
import { checkOptions, invalid, OPTIONS, type PolicyOptions } from './options.js';
import { prefixkv } from './prefixkv.js';
import { presetPolicies } from './presets.js';
import { pyramidkv } from './pyramidkv.js';
import { snapkv } from './snapkv.js';
import { parsePolicySpec } from './spec.js';

interface Entry {
  create(options: PolicyOptions): CachePolicy;
  /** The options it has a use for. */
  readonly reads: readonly (keyof PolicyOptions)[];
  readonly description: string;
}

/** Options that every method with a fixed point reads. */
const PLACES = ['startSize', 'distance'] as const;

const policies = {
  elastic: {
    create: elastic,
    reads: OPTIONS,
    description: 'merge into the most attended tokens, then remove at a fixed point (the paper)',
  },
  'elastic-reference': {
    create: elasticReference,
    reads: PLACES,
    description: "the authors' released Elastic Cache, index for index",
  },
  full: { create: full, reads: [], description: 'keep everything, whatever the budget' },
  h2o: {
    create: h2o,
    reads: ['startSize'],
    description: 'keep the tokens with the most accumulated attention, and the recent ones',
  },
  'h2o-reference': {
    create: h2oReference,
    reads: ['startSize'],
    description: "the authors' released H2O baseline, index for index",
  },
  local: {
    create: local,
    reads: ['startSize'],
    description: 'keep the first tokens and a recent window (StreamingLLM)',
  },
  'local-reference': {
    create: localReference,
    reads: ['startSize'],
    description: "the authors' released local baseline, index for index",
  },
  snapkv: {
    create: snapkv,
    reads: [...PLACES, 'window'],
    description: 'keep the last tokens and what they attend to (SnapKV)',
  },
  pyramidkv: {
    create: pyramidkv,
    reads: [...PLACES, 'window'],
    description: 'as snapkv, with fewer entries from layer to layer (PyramidKV)',
  },
  prefixkv: {
    create: prefixkv,
    reads: PLACES,
    description: 'keep the most attended tokens, as many as make the same share in every layer (PrefixKV)',
  },
  ...presetPolicies,
} satisfies Record<string, Entry>;

export type PolicyName = keyof typeof policies;

export const policyNames = Object.keys(policies) as PolicyName[];

/** One line for help texts and docs. */
export function describePolicy(name: PolicyName): string {
  return policies[name].description;
}

/**
 * Makes a policy.
 * @param spec its name, or its name and options of its own: `elastic:merging=none:distance=-40`
 * @param options what is undefined counts as not given, what the policy has no use for is left aside; options in the spec come first
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
  const { create, reads }: Entry = policies[name as PolicyName];
  const idle = Object.keys(own).find((option) => !(reads as readonly string[]).includes(option));
  if (idle !== undefined) {
    const takes = reads.length > 0 ? reads.join(', ') : 'no options';
    throw invalid(`policy "${spec}" sets ${idle}, which ${name} has no use for; it takes ${takes}.`);
  }
  const given = Object.entries({ ...options, ...own }).filter(([, value]) => value !== undefined);
  const all: PolicyOptions = Object.fromEntries(given);
  checkOptions(all);
  return { ...create(all), name: spec };
}
