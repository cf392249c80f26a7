import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CachePolicy } from '../../src/cache/policy.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { decodeSnapshot, encodeSnapshot } from '../../src/memory/saving/snapshot.js';
import type { PolicyOptions } from '../../src/policies/options.js';
import { driven } from '../cache/driven.js';
import { NaiveCache } from '../cache/naive-cache.js';
import { contents, lastAlone, play, type Setting, settings, unchunked } from '../cache/play.js';
import { naivePolicies } from './naive-policies.js';

const promises = {
  'exact budget': 'holds exactly what the budget allows, after every turn and every step',
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
  const cacheFor = (setting: Setting, policy = create(setting)) => {
    const cache = new KVCache({ policy, budget: setting.budget, ...setting.shape });
    cache.bind(setting.shape, setting.windows);
    return cache;
  };
  const everyRow = ({ shape }: Setting, check: (layer: number, row: number) => void) => {
    for (let layer = 0; layer < shape.layers; layer++)
      for (let row = 0; row < shape.batch; row++) check(layer, row);
  };
  const property = (check: (setting: Setting) => void) =>
    fc.assert(
      fc.property(settings, (setting) => check({ ...setting, ...observedBy(create(setting)) })),
      { numRuns: 12 },
    );
  const promised = (promise: Promised, check: () => void) => {
    if (without[promise] === undefined) it(promises[promise], check);
  };
  /** The cache after a script. */
  const played = (setting: Setting, policy?: CachePolicy): KVCache => {
    const cache = cacheFor(setting, policy);
    play(driven(cache, setting.shape), setting);
    return cache;
  };
  const heads = ({ shape }: Setting) => ((create({}).heads ?? 'shared') === 'shared' ? 1 : shape.kvHeads);
  const held = (cache: Pick<KVCache, 'entries'>, setting: Setting) =>
    contents(cache, setting.shape, heads(setting));
  const slowFor = (setting: Setting) => {
    const naive = naivePolicies[name];
    if (!naive) throw new Error(`test/policies/naive-policies.ts has no slow version of "${name}"`);
    return new NaiveCache(setting, setting.budget, () => naive(setting), create({}).heads);
  };

  describe(`${name}, as every policy`, () => {
    promised('exact budget', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        const { minimum } = cache.policy;
        const { budget, shape } = setting;
        play(driven(cache, shape), setting, (seen) => {
          const expected = seen.map((tokens) => {
            const share =
              typeof budget === 'number'
                ? Math.floor(budget * tokens)
                : (budget as { tokens: number }).tokens;
            return Math.min(tokens, Math.max(minimum, share));
          });
          const entries = seen.map(() => 0);
          everyRow(setting, (layer, row) => {
            for (let head = 0; head < heads(setting); head++)
              entries[row]! += cache.entries(layer, row, head).positions.length;
          });
          expect(entries).toEqual(expected.map((each) => shape.layers * heads(setting) * each));
          expect(cache.stats().tokensHeld).toBe(Math.max(...expected));
        });
      }),
    );

    promised('equal layers', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        play(driven(cache, setting.shape), setting, () => {
          everyRow(setting, (layer, row) => {
            expect(cache.entries(layer, row).positions).toHaveLength(cache.entries(0, row).positions.length);
          });
        });
      }),
    );

    promised('prefix', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        play(driven(cache, setting.shape), setting, (seen) => {
          everyRow(setting, (layer, row) => {
            const length = Math.min(setting.startSize, seen[row]!);
            const prefix = Array.from({ length }, (_, position) => position);
            expect(Array.from(cache.entries(layer, row).positions.slice(0, length))).toEqual(prefix);
          });
        });
      }),
    );

    promised('newest', () =>
      property((setting) => {
        const cache = cacheFor(setting);
        play(driven(cache, setting.shape), setting, (seen) => {
          everyRow(setting, (layer, row) => {
            expect(cache.entries(layer, row).positions.at(-1)).toBe(seen[row]! - 1);
          });
        });
      }),
    );

    it('keeps everything, to the bit, at budget 1', () =>
      property((setting) => {
        const whole = new NaiveCache(setting, 1, () => naivePolicies.full!(setting), create({}).heads);
        play(whole, setting);
        expect(held(played({ ...setting, budget: 1 }), setting)).toEqual(held(whole, setting));
      }));

    it('does what its slow version does', () =>
      property((setting) => {
        const slow = slowFor(setting);
        const cache = cacheFor(setting);
        const expected: unknown[] = [];
        play(slow, setting, () => expected.push(held(slow, setting)));
        play(driven(cache, setting.shape), setting, () =>
          expect(held(cache, setting)).toEqual(expected.shift()),
        );
      }));

    it('gives the same for turns in chunks', () =>
      property((setting) => {
        expect(held(played(unchunked(setting)), setting)).toEqual(held(played(setting), setting));
      }));

    it('shares one policy object between sequences, and repeats itself', () =>
      property((setting) => {
        const policy = create(setting);
        const [first, second] = [cacheFor(setting, policy), cacheFor(setting, policy)];
        const other = { ...setting, seed: setting.seed + 1 };
        // Each of the first turns of one sequence is followed by a whole other sequence.
        let turns = 0;
        play(driven(first, setting.shape), setting, () => {
          if (++turns > 3) return;
          second.reset();
          play(driven(second, setting.shape), other);
        });
        const alone = held(played(setting), setting);
        expect(held(first, setting)).toEqual(alone);
        first.reset();
        play(driven(first, setting.shape), setting);
        expect(held(first, setting)).toEqual(alone);
      }));

    it('treats sequences as if each were alone, whatever their lengths', () =>
      property((setting) => {
        const together = played(setting);
        const alone = played(lastAlone(setting));
        const last = held(together, setting).map((rows) => [rows.at(-1)!]);
        expect(held(alone, lastAlone(setting))).toEqual(last);
      }));

    it('goes on from a fork, and from a file, as if there had been none, and so does the original', () =>
      property((setting) => {
        const { shape, turns, seed, budget } = setting;
        const at = seed % (turns.length + 1);
        const original = cacheFor(setting);
        play(driven(original, shape), setting, undefined, 0, at);
        const empty = () => new KVCache({ policy: create(setting), budget });
        const [fork, other, loaded] = [empty(), empty(), empty()];
        fork.takeOver(original);
        other.takeOver(original);
        const bytes = encodeSnapshot(original.snapshot());
        play(driven(other, shape), { ...setting, seed: seed + 1 }, undefined, at);
        play(driven(original, shape), setting, undefined, at);
        loaded.restore(decodeSnapshot(bytes));
        const whole = played(setting);
        expect(held(original, setting)).toEqual(held(whole, setting));
        for (const copy of [fork, loaded]) {
          play(driven(copy, shape), setting, undefined, at);
          expect(held(copy, setting)).toEqual(held(whole, setting));
          expect(copy.stats()).toMatchObject({ tokensSeen: whole.seen, bytesHeld: whole.stats().bytesHeld });
        }
      }));

    it('decides ties the same way every time', () =>
      property((setting) => {
        const [first, second] = [cacheFor(setting), cacheFor(setting)];
        for (const cache of [first, second]) play(driven(cache, setting.shape), { ...setting, flat: true });
        expect(held(first, setting)).toEqual(held(second, setting));
        everyRow(setting, (layer, row) => {
          const { positions } = first.entries(layer, row);
          expect(positions).toEqual(positions.slice().sort());
        });
      }));
  });
}

/** How attention must come for a policy. */
export function observedBy({ window, peak }: CachePolicy): Pick<Setting, 'observed' | 'observedWhole'> {
  return { observed: window, observedWhole: peak };
}
