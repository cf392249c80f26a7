import type { CachePolicy } from '../cache/policy.js';
import { elastic } from './elastic.js';
import { optionsInForce, type PolicyOptions } from './options.js';

/** An `elastic` with other defaults, under a name of its own. */
interface Preset {
  readonly options: PolicyOptions;
  readonly description: string;
}

/** The paper's ablations, one choice changed in each, and others that are not its own. */
const presets = {
  'elastic-novelty': {
    options: {
      importance: 'mean',
      selection: 'shared',
      novelty: true,
      merging: 'none',
      eviction: 'repetition',
    },
    description: 'ablation of elastic: keeps what is attended to and new, the same in all layers',
  },
  'elastic-evict': {
    options: { merging: 'none' },
    description: 'ablation of elastic: unimportant tokens are dropped, not merged',
  },
  'elastic-mean': {
    options: { importance: 'mean' },
    description: 'ablation of elastic: importance averaged over the queries, not summed',
  },
  'elastic-window': {
    options: { importance: 'window' },
    description: 'elastic, but importance of the last queries only (not in the paper)',
  },
  'elastic-shared': {
    options: { selection: 'shared' },
    description: 'ablation of elastic: the same anchors in all layers',
  },
  'elastic-oldest': {
    options: { distance: 1 },
    description: 'ablation of elastic: the oldest entry is removed, not one at a fixed point',
  },
  'elastic-frequency': {
    options: { eviction: 'frequency' },
    description: 'ablation of elastic: while decoding, what received the least attention is removed',
  },
  'elastic-clusters': {
    options: { merging: 'clusters' },
    description: 'ablation of elastic: unimportant tokens are clustered to ten centres',
  },
  'elastic-heads': {
    options: { heads: 'each' },
    description: 'ablation of elastic: each key head has its own anchors',
  },
  'elastic-newest': {
    options: { distance: -1 },
    description: 'elastic, but what follows the prompt is removed first (not in the paper)',
  },
} satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;

export function isPreset(name: string): boolean {
  return Object.hasOwn(presets, name);
}

/** What the registry needs of each: options that are given come before the preset's. */
export const presetPolicies = Object.fromEntries(
  Object.entries(presets).map(([name, { options, description }]) => [
    name,
    {
      create: (given: PolicyOptions): CachePolicy => ({ ...elastic({ ...options, ...given }), name }),
      reads: (given: PolicyOptions) => optionsInForce({ ...options, ...given }),
      description,
    },
  ]),
) as Record<
  PresetName,
  {
    create(options: PolicyOptions): CachePolicy;
    reads(options: PolicyOptions): (keyof PolicyOptions)[];
    description: string;
  }
>;
