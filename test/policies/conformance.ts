import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KVCache } from '../../src/cache/kv-cache.js';
import type { CachePolicy } from '../../src/cache/policy.js';
import type { PolicyOptions } from '../../src/policies/options.js';
import { NaiveCache } from '../cache/naive-cache.js';
import { bySlot, contents, play, type Setting, settings } from '../cache/play.js';
import { naivePolicies } from './naive-policies.js';

const promises = {
  'exact budget': 'holds exactly what the budget allows, after the prompt and after every turn',
  'equal layers': 'holds as much in every layer',
  prefix: 'never evicts the first startSize tokens',
  newest: 'always holds the newest token',
} as const;

type Promised = keyof typeof promises;

/** What every policy must do. `without` names the promises a policy does not make, each with the reason. */
export function policyCases(
  name: string,
  create: (options: PolicyOptions) => CachePolicy,
  without: Partial<Record<Promised, string>> = {},
): void {
  const cacheFor = (setting: Setting, policy = create(setting)) =>
    new KVCache({ policy, budget: setting.budget, ...setting.shape });
  const everyRow = ({ shape }: Setting, check: (layer: number, row: number) => void) => {
    for (let layer = 0; layer < shape.layers; layer++)
      for (let row = 0; row < shape.batch; row++) check(layer, row);
  };
  const property = (check: (setting: Setting) => void) =>
    fc.assert(
      fc.property(settings, (setting) => check({ ...setting, observed: create(setting).window })),
      { numRuns: 12 },
    );
  const promised = (promise: Promised, check: () => void) => {
    if (without[promise] === undefined) it(promises[promise], check);
  };

  describe(`${name}, as every policy`, () => {
    promised('exact budget', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        const { minimum } = cache.policy;
        play(cache, setting, (seen) => {
          const { budget } = setting;
          const share =
            typeof budget === 'number' ? Math.floor(budget * seen) : (budget as { tokens: number }).tokens;
          const { layers, batch } = setting.shape;
          const expected = Math.min(seen, Math.max(minimum, share));
          const held = new Int32Array(batch);
          everyRow(setting, (layer, row) => {
            held[row]! += cache.entries(layer, row).positions.length;
          });
          expect(held).toEqual(held.map(() => layers * expected));
          expect(cache.stats().tokensHeld).toBe(expected);
        });
      }),
    );

    promised('equal layers', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        play(cache, setting, () => {
          everyRow(setting, (layer, row) => {
            expect(cache.entries(layer, row).positions).toHaveLength(cache.held(0));
          });
        });
      }),
    );

    promised('prefix', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        play(cache, setting, (seen) => {
          const prefix = Array.from({ length: Math.min(setting.startSize, seen) }, (_, position) => position);
          everyRow(setting, (layer, row) => {
            expect(Array.from(cache.entries(layer, row).positions.slice(0, prefix.length))).toEqual(prefix);
          });
        });
      }),
    );

    promised('newest', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        play(cache, setting, (seen) => {
          everyRow(setting, (layer, row) => {
            expect(cache.entries(layer, row).positions.at(-1)).toBe(seen - 1);
          });
        });
      }),
    );

    it('keeps everything, to the bit, at budget 1', () =>
      property((setting) => {
        const whole = new NaiveCache(setting.shape, 1, () => naivePolicies.full!(setting));
        const cache = cacheFor({ ...setting, budget: 1 });
        play(whole, setting);
        play(cache, setting);
        expect(contents(cache, setting.shape)).toEqual(contents(whole, setting.shape));
      }));

    it('does what its slow version does', () =>
      property((setting) => {
        const { shape, budget } = setting;
        const naive = naivePolicies[name];
        if (!naive) throw new Error(`test/policies/naive-policies.ts has no slow version of "${name}"`);
        const slow = new NaiveCache(shape, budget, () => naive(setting));
        const cache = cacheFor(setting);
        const expected: unknown[] = [];
        play(slow, setting, () => expected.push(contents(slow, shape)));
        play(cache, setting, () => expect(contents(cache, shape)).toEqual(expected.shift()));
      }));

    it('gives the same whether attention comes in logical order or by slot', () =>
      property((setting) => {
        const logical = cacheFor(setting);
        const slots = cacheFor(setting);
        play(logical, setting);
        play(bySlot(slots), setting);
        expect(contents(slots, setting.shape)).toEqual(contents(logical, setting.shape));
      }));

    it('gives the same for a prompt in chunks', () =>
      property((setting) => {
        const chunked = cacheFor(setting);
        const whole = cacheFor(setting);
        const [prompt, ...rest] = setting.turns;
        play(chunked, setting);
        play(whole, { ...setting, turns: [[prompt!.reduce((sum, tokens) => sum + tokens, 0)], ...rest] });
        expect(contents(whole, setting.shape)).toEqual(contents(chunked, setting.shape));
      }));

    it('shares one policy object between sequences, and repeats itself', () =>
      property((setting) => {
        const policy = create(setting);
        const [first, second, alone] = [
          cacheFor(setting, policy),
          cacheFor(setting, policy),
          cacheFor(setting),
        ];
        const other = { ...setting, seed: setting.seed + 1 };
        // Each of the first turns of one sequence is followed by a whole other sequence.
        let turns = 0;
        play(first, setting, () => {
          if (++turns > 3) return;
          second.reset();
          play(second, other);
        });
        play(alone, setting);
        expect(contents(first, setting.shape)).toEqual(contents(alone, setting.shape));
        first.reset();
        play(first, setting);
        expect(contents(first, setting.shape)).toEqual(contents(alone, setting.shape));
      }));

    it('treats the rows of a batch as if each were alone', () =>
      property((setting) => {
        const together = cacheFor(setting);
        play(together, setting);
        const { shape } = setting;
        const last = shape.batch - 1;
        const alone = cacheFor({ ...setting, shape: { ...shape, batch: 1 } });
        play(alone, { ...setting, shape: { ...shape, batch: 1 }, firstRow: last });
        for (let layer = 0; layer < shape.layers; layer++) {
          expect(alone.entries(layer)).toEqual(together.entries(layer, last));
        }
      }));

    it('decides ties the same way every time', () =>
      property((setting) => {
        const [first, second] = [cacheFor(setting), cacheFor(setting)];
        play(flat(first), setting);
        play(flat(second), setting);
        expect(contents(first, setting.shape)).toEqual(contents(second, setting.shape));
        everyRow(setting, (layer, row) => {
          const { positions } = first.entries(layer, row);
          expect(positions).toEqual(positions.slice().sort());
        });
      }));
  });
}

/** The cache given the same attention for every entry. */
function flat(cache: KVCache): Parameters<typeof play>[0] {
  return {
    entries: (layer, row) => cache.entries(layer, row),
    noteImage: (image) => cache.noteImage(image),
    append(layers, tokens, options) {
      cache.append(
        layers.map((rows) => (rows.attention ? { ...rows, attention: rows.attention.map(() => 0.5) } : rows)),
        tokens,
        options,
      );
    },
  };
}
