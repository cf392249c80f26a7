import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { driven } from '../../test/cache/driven.js';
import { NaiveCache } from '../../test/cache/naive-cache.js';
import { contents, optionsIn, play, settings } from '../../test/cache/play.js';
import { observedBy } from '../../test/policies/conformance.js';
import { naiveRanked } from '../../test/policies/naive-ranked.js';
import type { Budget } from '../cache/budget.js';
import { ElasticCache, type ElasticCacheOptions } from '../elastic-cache.js';
import { KVCache } from '../memory/kv-cache.js';
import type { EntryRows } from '../memory/shape.js';
import { KeyTurn } from '../memory/turns/rotation.js';
import { CHOICES, type PolicyOptions } from './options.js';
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

const options = fc.record({
  importance: fc.constantFrom(...CHOICES.importance),
  selection: fc.constantFrom(...CHOICES.selection),
  // Clusters have no slow version: below.
  merging: fc.constantFrom(...CHOICES.merging.filter((merging) => merging !== 'clusters')),
  mergeInto: fc.constantFrom(...CHOICES.mergeInto),
  // Heads of unequal length are elastic-plus's alone.
  heads: fc.constantFrom(...CHOICES.heads.filter((heads) => heads !== 'unequal')),
  layerBudgets: fc.constantFrom(...CHOICES.layerBudgets),
  eviction: fc.constantFrom(...CHOICES.eviction),
  novelty: fc.boolean(),
  protectText: fc.boolean(),
  endSize: fc.integer({ min: 1, max: 5 }),
  share: fc.option(fc.double({ min: 0.01, max: 0.99, noNaN: true })),
});

/** A cache of one layer, one head, one dimension after a prompt with these importances; keys count 10, 20, 30 ... */
function afterPrompt(importance: number[], options: PolicyOptions & { budget: Budget }) {
  const cache = elasticCache({ ...options, layers: 1, kvHeads: 1, headDim: 1 });
  const keys = Float32Array.from(importance, (_, token) => 10 * (token + 1));
  cache.appendTurn([{ keys, values: keys, attention: Float32Array.from(importance) }], importance.length);
  return cache;
}

/** Rows of one head of two dimensions whose keys have length 2 and these directions (radians). */
function towards(directions: number[], attention: number[]) {
  const keys = Float32Array.from(directions.flatMap((angle) => [2 * Math.cos(angle), 2 * Math.sin(angle)]));
  return { keys, values: keys, attention: Float32Array.from(attention) };
}

const positions = (cache: ElasticCache) => Array.from(cache.entries(0).positions);

function step(cache: ElasticCache): number[] {
  cache.appendStep([{ keys: new Float32Array(1), values: new Float32Array(1) }]);
  return positions(cache);
}

describe('elastic with its options', () => {
  it('turns no keys where positions are compact', () => {
    expect(() => createPolicy('elastic', { mergedKeys: 'turned', positions: 'compact' })).toThrow(
      /^mergedKeys "turned" turns keys by where .* choose one of the two\.$/,
    );
  });

  it.each([
    { importance: 'max' },
    { importance: 'window' },
    { selection: 'shared' },
  ] satisfies PolicyOptions[])('counts no frequency with %j', (options) => {
    const refused = () => createPolicy('elastic', { eviction: 'frequency', ...options });
    expect(refused).toThrow(/^eviction "frequency" .*; choose [^;]+\.$/);
  });

  it('does what its slow version does, whatever the combination', () =>
    fc.assert(
      fc.property(settings, options, (setting, { share, ...chosen }) => {
        const { budget, shape } = setting;
        const all = { ...setting, ...chosen, ...(share !== null && { distance: share }) };
        const some = all.importance === 'window' || all.importance === 'max';
        if (some && all.eviction === 'frequency') all.importance = 'mean';
        if (all.eviction === 'frequency') all.selection = 'per-layer';
        const policy = createPolicy('elastic', optionsIn(all));
        const cache = new KVCache({ policy, budget, ...shape });
        cache.bind(shape, setting.windows);
        const script = { ...setting, ...observedBy(policy) };
        const slow = new NaiveCache(script, budget, () => naiveRanked(all), policy.heads);
        const held: EntryRows[][][][] = [];
        const heads = policy.heads === 'each' ? shape.kvHeads : 1;
        play(slow, script, () => held.push(contents(slow, shape, heads)));
        play(driven(cache, shape), script, () => expect(contents(cache, shape, heads)).toEqual(held.shift()));
      }),
      { numRuns: 80 },
    ));

  it('mean importance divides by the queries that can see a token', () => {
    // Per query that can see it, token 4 received most: 3 / 2.
    const importance = [1, 5, 4, 3, 3, 0];
    expect(positions(afterPrompt(importance, { budget: 0.5 }))).toEqual([0, 1, 5]);
    expect(positions(afterPrompt(importance, { budget: 0.5, importance: 'mean' }))).toEqual([0, 4, 5]);
  });

  it('weighted merging averages by importance, and evenly where nothing was received', () => {
    const weighted = afterPrompt([3, 1, 0, 0], { budget: 0.5, merging: 'weighted' }).entries(0);
    expect(Array.from(weighted.keys)).toEqual([12.5, 35]);
    expect(Array.from(weighted.counts)).toEqual([2, 2]);
  });

  it('without merging the rest is dropped', () => {
    const { keys, counts } = afterPrompt([3, 1, 0, 0], { budget: 0.5, merging: 'none' }).entries(0);
    expect([Array.from(keys), Array.from(counts)]).toEqual([
      [10, 40],
      [1, 1],
    ]);
  });

  it('evicts the least important of as many prompt entries as a fixed point would, then what follows them', () => {
    const cache = afterPrompt([9, 2, 5, 1, 7, 0], {
      budget: { tokens: 5 },
      distance: -3,
      eviction: 'importance',
    });
    expect(positions(cache)).toEqual([0, 1, 2, 4, 5]);
    expect(step(cache)).toEqual([0, 2, 4, 5, 6]);
    expect(step(cache)).toEqual([0, 4, 5, 6, 7]);
    expect(step(cache)).toEqual([0, 5, 6, 7, 8]);
    expect(step(cache)).toEqual([0, 5, 7, 8, 9]);
  });

  it('with importance mean, averages over the queries that a sliding window lets see a token', () => {
    const held = (windows?: number[]) => {
      const cache = elasticCache({ budget: 0.5, importance: 'mean' });
      cache.bind({ layers: 1, kvHeads: 1, headDim: 2 }, windows);
      // Each query looks at itself and one before it alike, but none at token 2.
      cache.appendTurn([towards([0, 1, 2, 3, 4, 5], [1, 0.9, 0, 0.8, 0.9, 0.5])], 6);
      return positions(cache);
    };
    expect(held()).toEqual([0, 4, 5]);
    expect(held([2])).toEqual([0, 1, 5]);
  });

  it('with novelty, chooses what is attended to and unlike what was chosen before', () => {
    const directions = [0, 0.1, 1.5, 0.2, 1.6, 3];
    const importance = [9, 8, 3, 7, 2, 0];
    const held = (options: PolicyOptions, attention = importance) => {
      const cache = elasticCache({ ...options, budget: 0.5, layers: 1, kvHeads: 1, headDim: 2 });
      cache.appendTurn([towards(directions, attention)], directions.length);
      return positions(cache);
    };
    expect(held({})).toEqual([0, 1, 5]);
    expect(held({ novelty: true })).toEqual([0, 2, 5]);
    // A model that overflows must not hang.
    expect(held({ novelty: true }, directions.fill(Number.NaN))).toHaveLength(3);
  });

  it('evicts the prompt to two thirds of what is held, then what was said again', () => {
    const cache = new ElasticCache({
      policy: 'elastic-novelty',
      budget: { tokens: 9 },
      layers: 1,
      kvHeads: 1,
      headDim: 2,
    });
    cache.appendTurn([towards([0, 1, 2, 3, 4, 5, 6, 7, 8], new Array(9).fill(9))], 9);
    const said = (direction: number) => {
      cache.appendStep([towards([direction], [])]);
      return positions(cache).filter((position) => position >= 9);
    };
    expect(said(0)).toEqual([9]);
    expect(said(1.5)).toEqual([9, 10]);
    expect(said(0)).toEqual([9, 10, 11]);
    expect(positions(cache)).toHaveLength(9);
    // 9 was said again as 11; then 11 as 13; 12 and 10 were said once.
    expect(said(3)).toEqual([10, 11, 12]);
    expect(said(0)).toEqual([10, 12, 13]);
  });

  it('removes what received the least where asked for, and not what is recent', () => {
    const cache = afterPrompt([9, 2, 5, 1, 7, 0], { budget: { tokens: 6 }, eviction: 'frequency' });
    const attended = (...received: number[]) => {
      const attention = new Float32Array(cache.past(0).capacity + 1);
      attention.set(received);
      cache.appendStep([{ keys: new Float32Array(1), values: new Float32Array(1), attention }]);
      return positions(cache);
    };
    // Token 1 had 2 and gets nothing; token 3 had 1 and gets 9; then it is token 5, which never got any. The newest two are safe.
    expect(attended(0, 0, 0, 9)).toEqual([0, 2, 3, 4, 5, 6]);
    expect(attended()).toEqual([0, 2, 3, 4, 6, 7]);
  });

  it('removes at a share of the prompt where asked for', () => {
    const cache = afterPrompt([9, 9, 9, 9, 9, 9], { budget: { tokens: 5 }, distance: 0.5 });
    const before = positions(cache);
    expect(step(cache)).toEqual([...before.filter((_, place) => place !== 2), 6]);
  });

  it('leaves the first and the last tokens as they are where asked for', () => {
    const counts = (options: PolicyOptions) =>
      Array.from(afterPrompt([9, 1, 5, 1, 1, 0], { budget: 0.5, ...options }).entries(0).counts);
    expect(counts({})).toEqual([2, 2, 2]);
    expect(counts({ mergeInto: 'anchors' })).toEqual([1, 4, 1]);
  });

  it('gathers what is not kept in ten centres, within the budget', () => {
    fc.assert(
      fc.property(settings, (setting) => {
        const { budget, shape, startSize } = setting;
        const policy = createPolicy('elastic', { merging: 'clusters', startSize });
        const cache = new KVCache({ policy, budget, ...shape });
        cache.bind(shape);
        play(driven(cache, shape), { ...setting, windows: [], ...observedBy(policy) }, (seen) => {
          for (let row = 0; row < shape.batch; row++) {
            const share =
              typeof budget === 'number' ? budget * seen[row]! : (budget as { tokens: number }).tokens;
            const allowed = Math.min(seen[row]!, Math.max(policy.minimum, Math.floor(share)));
            const { counts, positions } = cache.entries(0, row);
            expect(positions).toHaveLength(allowed);
            expect(new Set(positions).size).toBe(allowed);
            expect(Math.min(...counts)).toBeGreaterThan(0);
          }
        });
      }),
      { numRuns: 12 },
    );
    // Two directions that are not kept: each has a centre of its own.
    const rows = towards([0, 1, 2, 1, 2, 1, 2, 3], [9, 0, 0, 0, 0, 0, 0, 9]);
    const cache = elasticCache({ budget: 0.5, merging: 'clusters', layers: 1, kvHeads: 1, headDim: 2 });
    cache.appendTurn([rows], 8);
    const { counts, keys } = cache.entries(0);
    expect([...counts].reduce((sum, count) => sum + count)).toBe(8);
    const angles = Array.from(counts, (_, entry) => Math.atan2(keys[2 * entry + 1]!, keys[2 * entry]!));
    expect(new Set(angles.map((angle) => angle.toFixed(3)))).toEqual(
      new Set(['0.000', '1.000', '2.000', '3.000']),
    );
  });

  it('adds log(count) to the scores of merged anchors where asked for', () => {
    const bias = (logCountBias: boolean) =>
      Array.from(afterPrompt([3, 1, 1, 0], { budget: 0.5, logCountBias }).past(0).bias).filter(
        Number.isFinite,
      );
    expect(bias(false)).toEqual([0, 0]);
    expect(bias(true)).toEqual([Math.fround(Math.log(2)), Math.fround(Math.log(2))]);
  });

  it('counts positions in entries held where asked for', () => {
    expect(afterPrompt([1, 1, 1, 1], { budget: 0.5 }).nextPosition(0)).toBe(4);
    expect(afterPrompt([1, 1, 1, 1], { budget: 0.5, positions: 'compact' }).nextPosition(0)).toBe(2);
  });

  it('keeps text before image tokens, and must be told which is which', () => {
    const cache = elasticCache({ budget: 0.5, protectText: true, layers: 1, kvHeads: 1, headDim: 1 });
    const rows = [
      {
        keys: new Float32Array(6),
        values: new Float32Array(6),
        attention: Float32Array.of(9, 9, 9, 0, 0, 0),
      },
    ];
    expect(() => cache.appendTurn(rows, 6)).toThrow(/kind of 0 of 6 tokens/);
    expect(cache.seen).toBe(0);
    cache.noteImage(Uint8Array.of(0, 1, 1, 1, 0, 0));
    cache.appendTurn(rows, 6);
    expect(positions(cache)).toEqual([0, 4, 5]);
  });

  it('turns keys to the position of their anchor before they are averaged', () => {
    const rotation = { frequencies: Float64Array.of(0.3), interleaved: false };
    const unturned = [
      Float32Array.of(1, 2),
      Float32Array.of(-3, 1),
      Float32Array.of(2, 2),
      Float32Array.of(0, 4),
    ];
    const keys = unturned.map((key, position) => new KeyTurn(rotation, position).turned(key));
    const cache = elasticCache({ budget: 0.5, mergedKeys: 'turned', layers: 1, kvHeads: 1, headDim: 2 });
    const flat = Float32Array.from(keys.flatMap((key) => [...key]));
    const rows = [{ keys: flat, values: flat, attention: Float32Array.of(9, 1, 1, 1) }];
    expect(() => cache.appendTurn(rows, 4)).toThrow(/noteRotation/);
    cache.noteRotation([rotation]);
    cache.appendTurn(rows, 4);
    // Tokens 0 and 1 merge into 0, tokens 2 and 3 into 3.
    const expected = [[-1, 1.5], [...new KeyTurn(rotation, 3).turned(Float32Array.of(1, 3))]].flat();
    cache.entries(0).keys.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 5);
    });
  });
});
