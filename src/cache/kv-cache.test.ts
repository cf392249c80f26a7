import { describe, expect, it } from 'vitest';
import { play } from '../../test/cache/play.js';
import { elastic } from '../policies/elastic.js';
import { full } from '../policies/full.js';
import { local } from '../policies/local.js';
import { KVCache, type KVCacheOptions } from './kv-cache.js';

const shape = { layers: 2, kvHeads: 2, headDim: 2, batch: 1 };
const bytesPerEntry = 2 * 2 * 2 * 2 * 4;

function cacheWith(options: Partial<KVCacheOptions> = {}): KVCache {
  return new KVCache({ policy: elastic(), budget: 0.2, ...shape, ...options });
}

function played(cache: KVCache, turns: number[][]): KVCache {
  play(cache, { seed: 1, shape: { ...shape, batch: cache.batch }, turns });
  return cache;
}

const steps = (count: number) => Array.from({ length: count }, () => [1]);

describe('memory', () => {
  it('writes a decode step in place: the buffers stay, only the rows of one slot change', () => {
    const cache = played(cacheWith({ policy: local(), budget: { tokens: 20 } }), [[100], ...steps(3)]);
    const before = cache.past(1);
    const copy = before.keys.slice();
    played(cache, []);
    cache.append(
      [0, 1].map(() => ({ keys: new Float32Array(4).fill(99), values: new Float32Array(4).fill(99) })),
      1,
    );
    expect(cache.past(1).keys).toBe(before.keys);
    const changed = [...copy.keys()].filter((index) => copy[index] !== before.keys[index]);
    expect(changed).toHaveLength(4);
  });

  it('leaves the spare slot empty and the others open to attention', () => {
    const cache = played(cacheWith({ budget: { tokens: 20 } }), [[100], ...steps(50)]);
    const { bias, capacity } = cache.past(0);
    expect(capacity).toBe(21);
    expect(bias.filter((value) => value === 0)).toHaveLength(20);
    expect(bias.filter((value) => value === Number.NEGATIVE_INFINITY)).toHaveLength(1);
  });

  it('allocates what is held and little more, also after turns of many tokens', () => {
    const cache = cacheWith();
    for (const turns of [[[1000]], steps(300), [[200, 200, 100]], steps(20)]) {
      for (const turn of turns) {
        cache.append(
          [0, 1].map(() => ({
            keys: new Float32Array(4 * sum(turn)),
            values: new Float32Array(4 * sum(turn)),
            attention: new Float32Array(cache.held(0) + sum(turn)),
          })),
          sum(turn),
        );
      }
      const { capacity } = cache.past(0);
      expect(capacity).toBeGreaterThan(cache.held(0));
      expect(capacity).toBeLessThanOrEqual(cache.held(0) * 1.125 + 34);
    }
  });

  it('holds a prompt in chunks in full until it is complete', () => {
    const cache = cacheWith();
    play(cache, { seed: 1, shape, turns: [] });
    const rows = (tokens: number) =>
      [0, 1].map(() => ({
        keys: new Float32Array(4 * tokens),
        values: new Float32Array(4 * tokens),
        attention: new Float32Array(cache.held(0) + tokens),
      }));
    cache.append(rows(40), 40, { promptContinues: true });
    expect([cache.held(0), cache.attentionNeeded()]).toEqual([40, true]);
    cache.append(rows(60), 60);
    expect([cache.held(0), cache.attentionNeeded()]).toEqual([20, false]);
  });

  it.each([
    ['a prompt', []],
    ['a later turn', [[50], [1], [1]]],
  ])('is reserved once for %s in chunks, and holds the same', (_, turns) => {
    const [cache, grown] = [0, 1].map(() => played(cacheWith({ policy: full(), budget: 1 }), turns));
    cache!.reserve(100, 20);
    const buffers = new Set<ArrayBuffer>();
    for (const part of [30, 50, 20]) {
      const numbers = Float32Array.from({ length: 4 * part }, (_, i) => part + i);
      const rows = [0, 1].map(() => ({ keys: numbers, values: numbers.map((value) => -value) }));
      for (const each of [cache!, grown!]) each.append(rows, part, { promptContinues: part !== 20 });
      if (part !== 20 || turns.length > 0) buffers.add(cache!.past(1).keys.buffer);
    }
    expect(buffers.size).toBe(1);
    expect([0, 1].map((layer) => cache!.entries(layer))).toEqual(
      [0, 1].map((layer) => grown!.entries(layer)),
    );
  });

  it('has no empty slot within a prompt, where it would only cost attention', () => {
    const cache = cacheWith({ policy: full(), budget: 1 });
    cache.reserve(100, 20);
    const rows = [0, 1].map(() => ({ keys: new Float32Array(160), values: new Float32Array(160) }));
    cache.append(rows, 40, { promptContinues: true });
    expect(cache.past(0).capacity).toBe(40);
    expect(cache.stats().bytesAllocated).toBeGreaterThanOrEqual(80 * bytesPerEntry);
  });

  it('is a legal past before the first token', () => {
    const { positions, ...past } = cacheWith().past(0);
    expect(positions()).toHaveLength(0);
    expect(past).toEqual({
      keys: new Float32Array(0),
      values: new Float32Array(0),
      bias: new Float32Array(0),
      capacity: 0,
    });
  });
});

describe('stats', () => {
  it('counts what is held, what is allocated and what a full cache would hold', () => {
    const stats = played(cacheWith(), [[100], ...steps(5)]).stats();
    expect(stats).toMatchObject({
      policy: 'elastic',
      tokensSeen: 105,
      tokensHeld: 21,
      bytesHeld: 21 * bytesPerEntry,
      bytesFull: 105 * bytesPerEntry,
    });
    expect(stats.layers).toHaveLength(2);
    expect(stats.bytesAllocated).toBe(stats.layers[0]!.bytesAllocated * 2);
  });

  it('a budget in bytes counts all layers and rows', () => {
    const cache = played(cacheWith({ budget: { bytes: 10 * 3 * bytesPerEntry }, batch: 3 }), [
      [50],
      ...steps(9),
    ]);
    expect(cache.held(0)).toBe(10);
    expect(cache.stats().bytesHeld).toBe(10 * 3 * bytesPerEntry);
  });
});

describe('log(count) bias', () => {
  it('is added for merged anchors and follows them when slots move', () => {
    const cache = played(cacheWith({ policy: { ...elastic({ distance: -5 }), logCountBias: true } }), [
      [100],
      [60, 60],
      ...steps(5),
    ]);
    for (const layer of [0, 1]) {
      const { counts } = cache.entries(layer);
      const wanted = Array.from(counts, (count) => Math.fround(Math.log(count))).sort();
      const used = Array.from(cache.past(layer).bias).filter(Number.isFinite);
      expect(used.sort()).toEqual(wanted);
      expect(Math.max(...counts)).toBeGreaterThan(1);
    }
  });
});

describe('positions', () => {
  it('are the original ones', () => {
    expect(played(cacheWith(), [[100], ...steps(5)]).nextPosition).toBe(105);
  });

  it('are entries held where a policy says so', () => {
    const policy = { ...local(), compactPositions: true };
    expect(played(cacheWith({ policy }), [[100]]).nextPosition).toBe(20);
  });
});

describe('binding and reset', () => {
  it('takes its shape from the model, and refuses another model', () => {
    const cache = new KVCache({ policy: full(), budget: 1 });
    expect(() => cache.append([], 1)).toThrow(/no shape yet/);
    cache.bind(shape);
    cache.bind({ ...shape, batch: 2 });
    expect(cache.batch).toBe(2);
    played(cache, [[5]]);
    expect(() => cache.bind({ ...shape, headDim: 4 })).toThrow(/made for 2 headDim, the model has 4/);
    expect(() => cache.bind(shape)).toThrow(/reset\(\)/);
    cache.reset();
    cache.bind(shape);
    expect([cache.seen, cache.held(0)]).toEqual([0, 0]);
  });
});

describe('what does not fit', () => {
  const keys = new Float32Array(12);
  const layer = { keys, values: keys, attention: new Float32Array(3) };

  it.each([
    ['a shape in part', () => new KVCache({ policy: full(), budget: 1, layers: 2 }), /together/],
    ['no layers', () => cacheWith({ layers: 0 }), /layers is 0/],
    ['too few layers', () => cacheWith().append([layer], 3), /1 layers; this cache has 2/],
    ['no tokens', () => cacheWith().append([layer, layer], 0), /tokens is 0/],
    ['keys of another size', () => cacheWith().append([layer, layer], 4), /keys of layer 0 hold 12.*is 16/],
    [
      'no attention',
      () => cacheWith().append([layer, { keys, values: keys }], 3),
      /layer 1 came without attention/,
    ],
    [
      'attention of another length',
      () => cacheWith().append([layer, { ...layer, attention: new Float32Array(4) }], 3),
      /attention of layer 1 holds 4 numbers; 3/,
    ],
    ['a layer it does not have', () => cacheWith().entries(2), /layer 2/],
    ['a row it does not have', () => cacheWith().entries(0, 1), /row 1/],
  ])('%s', (_, act, message) => {
    expect(act).toThrow(message);
    expect(act).toThrow(expect.objectContaining({ code: 'invalid-shape' }));
  });

  it('leaves the cache as it was', () => {
    const cache = played(cacheWith(), [[20]]);
    const before = cache.entries(0);
    expect(() => cache.append([layer], 1)).toThrow();
    expect([cache.seen, cache.entries(0)]).toEqual([20, before]);
  });
});

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
