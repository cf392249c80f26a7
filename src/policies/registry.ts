import type { CachePolicy } from '../cache/policy.js';
import { ElasticCacheError, shown } from '../errors.js';
import { refuseUnknown, unknown } from '../options.js';
import { elastic } from './elastic.js';
import { elasticPlus, elasticPlusOptions } from './elastic-plus.js';
import { elasticReference } from './elastic-reference.js';
import { full } from './full.js';
import { h2o } from './h2o.js';
import { h2oReference } from './h2o-reference.js';
import { local } from './local.js';
import { localReference } from './local-reference.js';
import { checkOptions, invalid, OPTIONS, optionsInForce, type PolicyOptions } from './options.js';
import { prefixkv } from './prefixkv.js';
import { presetPolicies } from './presets.js';
import { pyramidkv } from './pyramidkv.js';
import { snapkv } from './snapkv.js';
import { parsePolicySpec } from './spec.js';

interface Entry {
  create(options: PolicyOptions): CachePolicy;
  /** The options it has a use for, beside those that are given. */
  reads(options: PolicyOptions): readonly (keyof PolicyOptions)[];
  readonly description: string;
}

/** What some methods read, whatever is given. */
const reads = {
  nothing: () => [],
  start: () => ['startSize'],
  places: () => ['startSize', 'distance'],
  window: () => ['startSize', 'distance', 'window'],
} satisfies Record<string, Entry['reads']>;

const policies = {
  elastic: {
    create: elastic,
    reads: optionsInForce,
    description: 'merge into the most attended tokens, then remove at a fixed point (the paper)',
  },
  'elastic-plus': {
    create: elasticPlus,
    reads: elasticPlusOptions,
    description: 'keep by head what the last tokens attend to, cover images, merge the rest',
  },
  'elastic-reference': {
    create: elasticReference,
    reads: reads.places,
    description: "the authors' released Elastic Cache, index for index",
  },
  full: { create: full, reads: reads.nothing, description: 'keep everything, whatever the budget' },
  h2o: {
    create: h2o,
    reads: reads.start,
    description: 'keep the tokens with the most accumulated attention, and the recent ones',
  },
  'h2o-reference': {
    create: h2oReference,
    reads: reads.start,
    description: "the authors' released H2O baseline, index for index",
  },
  local: {
    create: local,
    reads: reads.start,
    description: 'keep the first tokens and a recent window (StreamingLLM)',
  },
  'local-reference': {
    create: localReference,
    reads: reads.start,
    description: "the authors' released local baseline, index for index",
  },
  snapkv: {
    create: snapkv,
    reads: reads.window,
    description: 'keep the last tokens and what they attend to (SnapKV)',
  },
  pyramidkv: {
    create: pyramidkv,
    reads: reads.window,
    description: 'as snapkv, with fewer entries from layer to layer (PyramidKV)',
  },
  prefixkv: {
    create: prefixkv,
    reads: reads.places,
    description: 'keep the most attended tokens, as many as make the same share in every layer (PrefixKV)',
  },
  ...presetPolicies,
} satisfies Record<string, Entry>;

/**
 * What is used unless told: of those that have been measured on a real language model, the one that answers most like the full cache there.
 */
export const DEFAULT_POLICY = 'elastic-plus' satisfies PolicyName;

export type PolicyName = keyof typeof policies;

/** A policy as it is typed: its name, or its name and options of its own. */
export type PolicySpec = PolicyName | `${PolicyName}:${string}`;

export const policyNames = Object.keys(policies) as PolicyName[];

/** One line for help texts and docs. @throws ElasticCacheError 'unknown-policy' */
export function describePolicy(name: PolicyName): string {
  return policies[knownName(name)].description;
}

/**
 * Makes a policy.
 * @param spec its name, or its name and options of its own: `elastic:merging=none:distance=-40`
 * @param options what is undefined counts as not given; options in the spec come first
 * @param idle what becomes of `options` that the policy has no use for: several policies may be given the same
 * @throws ElasticCacheError 'unknown-policy' or 'invalid-option'
 */
export function createPolicy(
  spec: string,
  options: PolicyOptions = {},
  idle: 'left aside' | 'refused' = 'left aside',
): CachePolicy {
  if (typeof spec !== 'string') throw noName(spec);
  refuseUnknown('createPolicy', options, OPTIONS);
  const { name: typed, options: own } = parsePolicySpec(spec);
  const name = knownName(typed);
  const given = Object.entries({ ...options, ...own }).filter(([, value]) => value !== undefined);
  const all: PolicyOptions = Object.fromEntries(given);
  checkOptions(all);
  const { create, reads }: Entry = policies[name];
  const inForce: readonly string[] = reads(all);
  const asked = Object.keys(idle === 'refused' ? all : own);
  const useless = asked.find((option) => !inForce.includes(option));
  if (useless !== undefined) {
    const takes = inForce.join(', ') || 'no options';
    throw invalid(`policy "${spec}" sets ${useless}, which makes no difference to it; it takes ${takes}.`);
  }
  return { ...create(all), name: spec };
}

function knownName(name: unknown): PolicyName {
  if (typeof name !== 'string') throw noName(name);
  if (Object.hasOwn(policies, name)) return name as PolicyName;
  throw unknown('unknown-policy', `policy "${name}" is unknown`, name, policyNames);
}

function noName(given: unknown): ElasticCacheError {
  return new ElasticCacheError(
    'unknown-policy',
    `a policy is told by its name, such as "${DEFAULT_POLICY}"; ${shown(given)} is none.`,
  );
}
