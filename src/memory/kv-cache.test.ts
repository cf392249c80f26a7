import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ofOne } from '../../test/cache/play.js';
import { cacheWith, played, shape, steps, zeros } from '../../test/cache/played.js';
import { type CachePolicy, keepAll } from '../cache/policy.js';
import { elastic } from '../policies/elastic.js';
import { full } from '../policies/full.js';
import { h2o } from '../policies/h2o.js';
import { local } from '../policies/local.js';
import { KVCache } from './kv-cache.js';
import type { KVFormat } from './rows/formats.js';

const bytesPerEntry = 2 * 2 * 2 * 2 * 4;

describe('memory', () => {
  it('writes a decode step in place: the buffers stay, only the rows of one token and those that move change', () => {
    const cache = played(
      cacheWith({ policy: local(), budget: { tokens: 20 } }),
      ...ofOne([100], ...steps(3)),
    );
    const before = cache.past(1).keys.numbers;
    const copy = before.slice();
    cache.appendStep(
      [0, 1].map(() => ({ keys: new Float32Array(4).fill(99), values: new Float32Array(4).fill(99) })),
    );
    expect(cache.past(1).keys.numbers).toBe(before);
    const changed = [...copy.keys()].filter((index) => copy[index] !== before[index]);
    // The new row takes the place of the one that went: 2 heads of 2 numbers.
    expect(changed).toHaveLength(4);
  });

  it('whatever goes, the new entry among it, the others keep their keys', () => {
    const rows = (first: number, count: number) => {
      const numbers = Float32Array.from({ length: 4 * count }, (_, i) => first + (Math.floor(i / 2) % count));
      return [0, 1].map(() => ({ keys: numbers, values: numbers }));
    };
    const property = fc.property(
      fc.array(fc.array(fc.nat(), { maxLength: 4 }), { maxLength: 12 }),
      (going) => {
        /** [layers] */
        let left: number[][] = [];
        const policy: CachePolicy = {
          ...full(),
          begin: () => ({
            compress: (layers) => layers.map((heads) => heads.map(({ tokens }) => keepAll(tokens))),
            evict(entries, _allowed, layer) {
              const next = entries.length > 1 ? left[layer]!.shift() : undefined;
              return next === undefined ? -1 : next % entries.length;
            },
          }),
        };
        const cache = new KVCache({ policy, budget: 1, ...shape });
        cache.appendTurn(rows(0, 5), 5);
        for (const each of going) {
          left = [[...each], [...each]];
          cache.appendStep(rows(cache.seen, 1));
        }
        for (const layer of [0, 1]) {
          const { keys, values, positions } = cache.entries(layer);
          const expected = [...positions].flatMap((position) => [position, position, position, position]);
          expect([...keys]).toEqual(expected);
          expect([...values]).toEqual(expected);
          const { bias } = cache.past(layer);
          expect(bias.filter((value) => value === 0)).toHaveLength(positions.length);
        }
      },
    );
    fc.assert(property, { numRuns: 50 });
  });

  it('holds entries in rows 0 to held - 1, and hides the others', () => {
    const cache = played(cacheWith({ budget: { tokens: 20 } }), ...ofOne([100], ...steps(50)));
    const { bias, capacity } = cache.past(0);
    expect(capacity).toBe(32);
    expect(Array.from(bias)).toEqual([
      ...new Array<number>(20).fill(0),
      ...new Array<number>(12).fill(Number.NEGATIVE_INFINITY),
    ]);
    expect(Array.from(cache.positions(0).subarray(0, 20)).sort((a, b) => a - b)).toEqual(
      Array.from(cache.entries(0).positions),
    );
  });

  it('allocates what is held and little more, also after turns of many tokens', () => {
    const cache = cacheWith();
    for (const turn of [[1000], ...steps(300), [200, 200, 100], ...steps(20)]) {
      if (turn === 'step') cache.appendStep(zeros(1, cache.past(0).capacity));
      else {
        turn.forEach((tokens, part) => {
          const rows = zeros(tokens, cache.past(0, 0).capacity);
          cache.appendTurn(rows, tokens, { turnContinues: part + 1 < turn.length });
        });
      }
      const { capacity } = cache.past(0);
      expect(capacity).toBeGreaterThanOrEqual(cache.held(0));
      expect(capacity).toBeLessThanOrEqual(cache.held(0) * 1.125 + 34);
      expect(cache.stats().bytesAllocated).toBeLessThanOrEqual(2 * capacity * (bytesPerEntry / 2 + 4));
    }
  });

  it('a sequence that lets many entries go gives the memory of a batch back', () => {
    const batch = { ...shape, batch: 2 };
    const cache = new KVCache({ policy: elastic(), budget: 0.2, ...batch });
    played(cache, { chunks: [[500], [20]] });
    expect(cache.past(0).capacity).toBeLessThanOrEqual(100 * 1.125 + 34);
    expect([cache.entries(0, 0), cache.entries(0, 1)].map(({ positions }) => positions.length)).toEqual([
      100, 4,
    ]);
  });

  it('holds a turn in chunks in full until it is complete, and what was held before as it was', () => {
    const cache = cacheWith();
    const parts = [
      [40, 60],
      [30, 20],
    ] as const;
    for (const [first, second] of parts) {
      const before = cache.entries(0);
      cache.appendTurn(zeros(first, cache.past(0, 0).capacity), first, { turnContinues: true });
      expect([cache.entries(0), cache.reading, cache.begun]).toEqual([before, first, false]);
      cache.appendTurn(zeros(second, cache.past(0, 0).capacity), second);
      expect([cache.held(0), cache.reading, cache.begun]).toEqual([Math.floor(0.2 * cache.seen), 0, true]);
    }
  });

  it.each([
    ['a prompt', []],
    ['a later turn', ofOne([50], 'step', 'step')],
  ])('is reserved once for %s in chunks, and holds the same', (_, events) => {
    const [cache, grown] = [0, 1].map(() => played(cacheWith({ policy: full(), budget: 1 }), ...events));
    cache!.reserve(80, 2);
    const buffers = new Set<ArrayBuffer>();
    for (const part of [30, 50, 20]) {
      const numbers = Float32Array.from({ length: 4 * part }, (_, i) => part + i);
      const rows = [0, 1].map(() => ({ keys: numbers, values: numbers.map((value) => -value) }));
      for (const each of [cache!, grown!]) each.appendTurn(rows, part, { turnContinues: part !== 20 });
      if (part !== 20) buffers.add(cache!.past(1, 0).keys.numbers.buffer);
    }
    expect(buffers.size).toBe(1);
    expect([0, 1].map((layer) => cache!.entries(layer))).toEqual(
      [0, 1].map((layer) => grown!.entries(layer)),
    );
  });

  it('a single part that comes first is not copied', () => {
    const cache = cacheWith({ policy: full(), budget: 1 });
    cache.reserve(80, 1);
    const rows = zeros(80, 0);
    cache.appendTurn(rows, 80, { turnContinues: true });
    expect(cache.past(1, 0).keys.numbers.buffer).toBe(rows[1]!.keys.buffer);
    cache.appendTurn(zeros(20, 80), 20);
    expect(cache.held(0)).toBe(100);
  });

  it('has no empty row within a turn, where it would only cost attention', () => {
    const cache = cacheWith({ policy: full(), budget: 1 });
    cache.reserve(80, 2);
    cache.appendTurn(zeros(40, 0), 40, { turnContinues: true });
    expect(cache.past(0, 0).capacity).toBe(40);
    expect(cache.stats().bytesAllocated).toBeGreaterThanOrEqual(80 * bytesPerEntry);
  });

  it('is a legal past before the first token', () => {
    const cache = cacheWith();
    expect(cache.positions(0)).toHaveLength(0);
    const { keys, values, bias, capacity } = cache.past(0);
    expect([keys.numbers.length, values.numbers.length, bias.length, capacity]).toEqual([0, 0, 0, 0]);
  });

  it.each(['float16', 'int8'] as const)(
    '%s: what is kept or moved stays to the bit, what is merged is read and written anew',
    (format) => {
      const events = ofOne([30, 20], ...steps(15), [10], ...steps(5));
      for (const policy of [h2o(), local(), full()]) {
        const [held, wide] = [format, 'float32' as const].map((each) =>
          played(cacheWith({ policy, budget: 0.4, format: each }), ...events),
        );
        const [got, want] = [held!.entries(1), wide!.entries(1)];
        expect(got.positions).toEqual(want.positions);
        for (const name of ['keys', 'values'] as const)
          expect(got[name]).toEqual(through(format, want[name]));
      }
      const merged = played(cacheWith({ format }), ...events).entries(0);
      const exact = played(cacheWith(), ...events).entries(0);
      expect(merged.positions).toEqual(exact.positions);
      // Numbers to 8; rounded when they came, and once at each of two turns.
      merged.values.forEach((value, i) => {
        expect(Math.abs(value - exact.values[i]!)).toBeLessThan(
          format === 'int8' ? (3 * 8) / 254 : (3 * 8) / 2048,
        );
      });
    },
  );
});

/** Rows of two numbers, rounded once to a format. */
function through(format: KVFormat, numbers: Float32Array): Float32Array {
  const cache = new KVCache({ policy: full(), budget: 1, layers: 1, kvHeads: 1, headDim: 2, format });
  cache.appendTurn([{ keys: numbers, values: numbers }], numbers.length / 2);
  return cache.entries(0).keys;
}

describe('binding and reset', () => {
  it('takes its shape from the model, and refuses another model', () => {
    const cache = new KVCache({ policy: full(), budget: 1 });
    expect(() => cache.appendTurn([], 1)).toThrow(/no shape yet/);
    cache.bind(shape);
    cache.bind({ ...shape, batch: 2 });
    expect(cache.batch).toBe(2);
    played(cache, { chunks: [[5], [3]] });
    expect(() => cache.bind({ ...shape, headDim: 4 })).toThrow(/made for 2 headDim, the model has 4/);
    expect(() => cache.bind(shape)).toThrow(/reset\(\)/);
    cache.reset();
    cache.bind(shape);
    expect([cache.seen, cache.held(0)]).toEqual([0, 0]);
  });
});

describe('what does not fit', () => {
  const keys = new Float32Array(12);
  const layer = { keys, values: keys, attention: new Float32Array(6) };

  it.each([
    ['a shape in part', () => new KVCache({ policy: full(), budget: 1, layers: 2 }), /together/],
    ['no layers', () => cacheWith({ layers: 0 }), /layers is 0/],
    [
      'an unknown format',
      () => cacheWith({ format: 'int4' as never }),
      /format is "int4"; choose one of float32/,
    ],
    ['too few layers', () => cacheWith().appendTurn([layer], 3), /1 layers; this cache has 2/],
    ['no tokens', () => cacheWith().appendTurn([layer, layer], 0), /tokens is 0/],
    [
      'keys of another size',
      () => cacheWith().appendTurn([layer, layer], 4),
      /keys of layer 0 hold 12.*is 16/,
    ],
    [
      'no attention',
      () => cacheWith().appendTurn([layer, { keys, values: keys }], 3),
      /layer 1 came without attention/,
    ],
    [
      'attention of another length',
      () => cacheWith().appendTurn([layer, { ...layer, attention: new Float32Array(4) }], 3),
      /attention of layer 1 holds 4 numbers; .*6/,
    ],
    ['a layer it does not have', () => cacheWith().entries(2), /layer 2/],
    ['a row it does not have', () => cacheWith().entries(0, 1), /row 1/],
    ['a head that does not choose', () => cacheWith().entries(0, 0, 1), /head 1 of layer 0/],
  ])('%s', (_, act, message) => {
    expect(act).toThrow(message);
    expect(act).toThrow(expect.objectContaining({ code: 'invalid-shape' }));
  });

  it('leaves the cache as it was', () => {
    const cache = played(cacheWith(), ...ofOne([20]));
    const before = cache.entries(0);
    expect(() => cache.appendTurn([layer], 1)).toThrow();
    expect(() => cache.appendStep([layer])).toThrow();
    expect([cache.seen, cache.begun, cache.entries(0)]).toEqual([20, true, before]);
  });
});
