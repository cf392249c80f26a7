import { KVCache } from '../../src/memory/kv-cache.js';
import type { KVCacheOptions, LayerRows } from '../../src/memory/shape.js';
import { elastic } from '../../src/policies/elastic.js';
import { driven } from './driven.js';
import { type Event, play } from './play.js';

/** The cache that tests of memory fill, unless they say otherwise. */
export const shape = { layers: 2, kvHeads: 2, headDim: 2, batch: 1 };

export function cacheWith(options: Partial<KVCacheOptions> = {}): KVCache {
  return new KVCache({ policy: elastic(), budget: 0.2, ...shape, ...options });
}

/** Lets these events happen to a cache of that shape. */
export function played(cache: KVCache, ...events: Event[]): KVCache {
  const own = { ...shape, batch: cache.batch };
  const { window, peak } = cache.policy;
  play(driven(cache, own), { seed: 1, shape: own, turns: events, observed: window, observedWhole: peak });
  return cache;
}

export const steps = (count: number) => new Array<'step'>(count).fill('step');

/** Rows of zeros, with attention for so many rows of the past. */
export function zeros(tokens: number, past: number): LayerRows[] {
  const numbers = new Float32Array(4 * tokens);
  return [0, 1].map(() => ({
    keys: numbers,
    values: numbers,
    attention: new Float32Array(2 * (past + tokens)),
  }));
}
