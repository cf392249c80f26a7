import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CachePolicy } from '../cache/policy.js';
import { compressedTurn } from '../policies/compressed-turn.js';
import { elastic } from '../policies/elastic.js';
import { full } from '../policies/full.js';
import { h2o } from '../policies/h2o.js';
import { observationWindow, snapkv } from '../policies/snapkv.js';
import { KVCache } from './kv-cache.js';
import { kindOf, LanePool, roomPromised } from './lane-pool.js';
import type { LayerRows } from './shape.js';

const shape = { layers: 2, kvHeads: 2, headDim: 4, batch: 1 };
const SIZE = shape.kvHeads * shape.headDim;
/** Keys, values and a bias. */
const ROW_BYTES = 4 * (2 * SIZE + 1);

/** Rows of `tokens` tokens of the sequence `of`, from `start` on: what they are depends on these alone. */
function rowsOf(of: number, start: number, tokens: number, fed: (layer: number) => number): LayerRows[] {
  const number = (i: number) => Math.sin(of * 7919 + start * 104_729 + i * 31);
  return Array.from({ length: shape.layers }, (_, layer) => ({
    keys: Float32Array.from({ length: tokens * SIZE }, (_, i) => number(i + layer)),
    values: Float32Array.from({ length: tokens * SIZE }, (_, i) => number(i + layer + 500)),
    attention: new Float32Array(shape.kvHeads * (fed(layer) + tokens)).fill(1 / (fed(layer) + tokens)),
  }));
}

function begun(policy: CachePolicy, of: number, tokens: number): KVCache {
  const cache = new KVCache({ policy, budget: 0.5, ...shape });
  const window = policy.window ?? 0;
  if (window > 0 && tokens > window) {
    const [first, last] = [tokens - window, window];
    const plain = rowsOf(of, 0, first, () => 0).map(({ keys, values }) => ({ keys, values }));
    cache.appendTurn(plain, first, { turnContinues: true }, 0);
    cache.appendTurn(
      rowsOf(of, first, last, () => first),
      last,
    );
  } else {
    cache.appendTurn(
      rowsOf(of, 0, tokens, () => 0),
      tokens,
    );
  }
  return cache;
}

const held = (cache: KVCache) => Array.from({ length: shape.layers }, (_, layer) => cache.entries(layer));

/** One step of all members, each with the rows that it gets alone. */
function step(pool: LanePool, ofs: ReadonlyMap<KVCache, number>): void {
  const each = pool.members.map((cache) =>
    rowsOf(ofs.get(cache)!, cache.seenBy(0), 1, (layer) => pool.past(layer).capacity),
  );
  pool.appendStep(
    Array.from({ length: shape.layers }, (_, layer) => {
      const joined = (name: 'keys' | 'values' | 'attention') =>
        Float32Array.from(each.flatMap((rows) => [...rows[layer]![name]!]));
      return { keys: joined('keys'), values: joined('values'), attention: joined('attention') };
    }),
  );
}

const POLICIES = { elastic: elastic(), full: full(), h2o: h2o(), snapkv: snapkv({ window: 8 }) };

/** `part` of the budget of both layers in the first, the rest in the second. */
function split(part: number): CachePolicy {
  const method = observationWindow({ startSize: 1, distance: 4, window: 8 }, (layers) => {
    const { allowed, tokens } = layers[0]![0]!;
    const both = 2 * allowed.entries;
    const first = Math.max(9, both - tokens, Math.min(both - 9, tokens, Math.round(part * both)));
    return Int32Array.of(first, both - first);
  });
  return {
    ...snapkv({ window: 8 }),
    layers: 'unequal',
    begin: (_, saved) => compressedTurn(() => method, saved),
  };
}

describe('lane pool', () => {
  it('leaves every member what it has alone, whoever joins and leaves', () => {
    const comings = fc.array(
      fc.record({
        policy: fc.constantFrom<keyof typeof POLICIES>('elastic', 'full', 'snapkv'),
        prompt: fc.integer({ min: 1, max: 90 }),
        from: fc.integer({ min: 0, max: 12 }),
        steps: fc.integer({ min: 0, max: 40 }),
      }),
      { minLength: 1, maxLength: 6 },
    );
    fc.assert(
      fc.property(comings, (sequences) => {
        const pool = new LanePool();
        const ofs = new Map<KVCache, number>();
        const caches = sequences.map(({ policy, prompt }, of) => begun(POLICIES[policy], of, prompt));
        caches.forEach((cache, of) => void ofs.set(cache, of));
        for (let time = 0; time <= 52; time++) {
          sequences.forEach(({ from, steps }, of) => {
            if (time === from) pool.join(caches[of]!);
            if (time === from + steps) pool.leave(caches[of]!, true);
          });
          if (pool.batch > 0) step(pool, ofs);
        }
        sequences.forEach(({ policy, prompt, steps }, of) => {
          const alone = begun(POLICIES[policy], of, prompt);
          for (let i = 0; i < steps; i++)
            alone.appendStep(rowsOf(of, alone.seen, 1, (layer) => alone.past(layer).capacity));
          expect(held(caches[of]!)).toEqual(held(alone));
        });
        expect(pool.bytes).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  it('takes only whom it can hold in what was promised, however unlike their layers', () => {
    const coming = fc.record({
      part: fc.constantFrom(0.1, 0.5, 0.9),
      prompt: fc.integer({ min: 100, max: 400 }),
      steps: fc.integer({ min: 1, max: 40 }),
    });
    const taken = { yes: 0, no: 0 };
    fc.assert(
      fc.property(fc.array(coming, { minLength: 2, maxLength: 5 }), (sequences) => {
        const pool = new LanePool();
        const ofs = new Map<KVCache, number>();
        const ends = new Map<KVCache, number>();
        const most = new Map<KVCache, number>();
        const check = () => {
          const rows = roomPromised(
            { layers: 'unequal' },
            Math.max(...pool.members.map((each) => most.get(each)!)),
          );
          if (pool.batch > 0)
            expect(pool.bytes).toBeLessThanOrEqual(pool.batch * shape.layers * rows * ROW_BYTES);
        };
        sequences.forEach(({ part, prompt, steps }, of) => {
          const cache = begun(split(part), of, prompt);
          const needed = Math.floor(0.5 * (prompt + steps)) + 1;
          const takes = pool.takes(cache, needed);
          taken[takes ? 'yes' : 'no']++;
          if (!takes) return;
          pool.join(cache, needed);
          ofs.set(cache, of);
          most.set(cache, needed);
          ends.set(cache, steps);
          check();
        });
        for (let time = 1; pool.batch > 0; time++) {
          step(pool, ofs);
          check();
          for (const cache of [...pool.members]) if (ends.get(cache) === time) pool.leave(cache, true);
          check();
        }
      }),
      { numRuns: 30 },
    );
    expect(Math.min(taken.yes, taken.no)).toBeGreaterThan(0);
  });

  it('takes policies that want attention at every step, and shows where entries stand', () => {
    const [one, other] = [begun(POLICIES.h2o, 1, 30), begun(POLICIES.h2o, 2, 7)];
    const pool = new LanePool();
    pool.join(one);
    pool.join(other);
    step(
      pool,
      new Map([
        [one, 1],
        [other, 2],
      ]),
    );
    const capacity = pool.past(0).capacity;
    expect(pool.past(0).keys.numbers.length).toBe(2 * capacity * SIZE);
    expect(pool.positions(0)).toEqual(Int32Array.from([...one.positions(0), ...other.positions(0)]));
    expect([pool.seenBy(0), pool.seenBy(1), one.held(0), other.held(0)]).toEqual([31, 8, 15, 4]);
  });

  it('lets the others go on when the policy of one fails', () => {
    const failing: CachePolicy = {
      ...full(),
      begin: (layers) => ({
        ...full().begin(layers),
        evict: () => {
          throw new Error('broken');
        },
      }),
    };
    const [one, other] = [begun(failing, 1, 5), begun(POLICIES.full, 2, 7)];
    const pool = new LanePool();
    pool.join(one);
    pool.join(other);
    step(
      pool,
      new Map([
        [one, 1],
        [other, 2],
      ]),
    );
    expect([...pool.failures.keys()]).toEqual([one]);
    expect([one.seen, other.seen]).toEqual([0, 8]);
    pool.leave(one, false);
    expect(held(other)[0]!.positions.length).toBe(8);
  });

  it('allocates a lane for each member, and gives it back', () => {
    const caches = Array.from({ length: 8 }, (_, of) => begun(POLICIES.full, of, 40));
    const pool = new LanePool();
    for (const cache of caches) pool.join(cache);
    const all = pool.bytes;
    for (const cache of caches.slice(0, 6)) pool.leave(cache, false);
    expect(pool.bytes).toBe(all / 4);
    expect(kindOf(caches[0]!)).not.toBe(kindOf(begun(POLICIES.h2o, 0, 3)));
  });
});
