import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { driven } from '../../test/cache/driven.js';
import { optionsIn, play, settings } from '../../test/cache/play.js';
import { ElasticCache, type ElasticCacheOptions } from '../elastic-cache.js';
import { createPolicy } from './registry.js';

/** A cache of the paper's policy; options of the policy that make no difference beside the others do no harm here. */
function elasticCache({ budget, layers, kvHeads, headDim, batch, ...options }: ElasticCacheOptions) {
  return new ElasticCache({
    policy: createPolicy('elastic', optionsIn(options)),
    budget,
    layers,
    kvHeads,
    headDim,
    batch,
  });
}

/** A cache of one layer, one head, one dimension after a prompt with these importances; keys count 10, 20, 30 ... */
function afterPrompt(
  importance: number[],
  options: { budget: number; startSize?: number; endSize?: number; distance?: number },
) {
  const cache = elasticCache({ ...options, layers: 1, kvHeads: 1, headDim: 1 });
  const keys = Float32Array.from(importance, (_, token) => 10 * (token + 1));
  cache.appendTurn([{ keys, values: keys, attention: Float32Array.from(importance) }], importance.length);
  return cache;
}

function step(cache: ElasticCache): number[] {
  const row = new Float32Array(1);
  cache.appendStep([{ keys: row, values: row }]);
  return Array.from(cache.entries(0).positions);
}

describe('elastic', () => {
  it('merges every token into the anchor nearest in position, the earlier of two', () => {
    // Anchors: 0 and 9 always, then 3 and 6. Tokens 1, 2 | 4, 5 | 7, 8 lie between them.
    const cache = afterPrompt([0, 1, 1, 8, 1, 1, 7, 1, 1, 0], { budget: 0.4 });
    const { keys, positions, counts } = cache.entries(0);
    expect(Array.from(positions)).toEqual([0, 3, 6, 9]);
    expect(Array.from(counts)).toEqual([2, 3, 3, 2]);
    expect(Array.from(keys)).toEqual([15, 40, 70, 95]);
  });

  it('gives a token halfway between two anchors to the earlier, and equal importance to the earlier token', () => {
    const cache = afterPrompt([5, 5, 5, 5, 5], { budget: 0.4 });
    const { positions, counts } = cache.entries(0);
    expect(Array.from(positions)).toEqual([0, 4]);
    expect(Array.from(counts)).toEqual([3, 2]);
    expect(Array.from(afterPrompt([1, 2, 2, 2, 1], { budget: 0.6 }).entries(0).positions)).toEqual([0, 1, 4]);
  });

  it('keeps the last endSize tokens of the prompt, within the budget', () => {
    const cache = afterPrompt([9, 9, 9, 9, 9, 9, 0, 0, 0, 0], { budget: 0.5, endSize: 3 });
    expect(Array.from(cache.entries(0).positions)).toEqual([0, 1, 7, 8, 9]);
    expect(afterPrompt([1, 1, 1, 1], { budget: 0.25, endSize: 9 }).held(0)).toBe(4);
  });

  it('removes at the fixed point, counted from the end of the compressed prompt', () => {
    const importance = Array.from({ length: 10 }, (_, token) => (token < 5 ? 9 : 0));
    const cache = afterPrompt(importance, { budget: 0.5, distance: -2 });
    expect(Array.from(cache.entries(0).positions)).toEqual([0, 1, 2, 3, 9]);
    expect(step(cache)).toEqual([0, 1, 2, 9, 10]);
    expect(step(cache)).toEqual([0, 1, 2, 9, 10, 11]);
    expect(step(cache)).toEqual([0, 1, 2, 10, 11, 12]);
  });

  it('removes right after the first tokens when the prompt is shorter than the distance', () => {
    const cache = afterPrompt([9, 9, 9, 0, 0, 0], { budget: 0.5, startSize: 2 });
    expect(Array.from(cache.entries(0).positions)).toEqual([0, 1, 5]);
    expect(step(cache)).toEqual([0, 1, 6]);
  });

  it('keeps the count-weighted sum of keys and values, and the count of tokens, at the prompt', () =>
    fc.assert(
      fc.property(settings, ({ turns, shape, ...setting }) => {
        const cache = elasticCache({ ...setting, ...shape });
        const whole = new ElasticCache({ policy: 'full', ...shape });
        const script = { seed: setting.seed, shape, turns: turns.slice(0, 1) };
        play(driven(cache, shape), script);
        play(driven(whole, shape), script);
        for (let layer = 0; layer < shape.layers; layer++) {
          const [merged, all] = [cache.entries(layer), whole.entries(layer)];
          for (const name of ['keys', 'values'] as const) {
            const wanted = weightedSum(all[name], all.counts);
            weightedSum(merged[name], merged.counts).forEach((sum, i) => {
              expect(sum).toBeCloseTo(wanted[i]!, 3);
            });
          }
          expect(merged.counts.reduce((sum, count) => sum + count)).toBe(all.counts.length);
        }
      }),
    ));
});

function weightedSum(rows: Float32Array, counts: Int32Array): number[] {
  const width = rows.length / counts.length;
  return Array.from({ length: width }, (_, i) =>
    counts.reduce((sum, count, entry) => sum + count * rows[entry * width + i]!, 0),
  );
}
