import { describe, expect, it } from 'vitest';
import { driven } from '../../../test/cache/driven.js';
import { ofOne, play } from '../../../test/cache/play.js';
import { cacheWith, played, shape, steps, zeros } from '../../../test/cache/played.js';
import { type CachePolicy, eachLayer, keepAll } from '../../cache/policy.js';
import { elastic } from '../../policies/elastic.js';
import { elasticPlus } from '../../policies/elastic-plus.js';
import { full } from '../../policies/full.js';
import { h2o } from '../../policies/h2o.js';
import { createPolicy, policyNames } from '../../policies/registry.js';
import { KVCache } from '../kv-cache.js';

describe('trim', () => {
  it('goes back to the end of a turn: its answer and what came later are forgotten', () => {
    const events = ofOne([40], ...steps(6), [20], 'step');
    const cache = played(cacheWith({ policy: full(), budget: 1 }), ...events);
    cache.trim(1);
    const first = played(cacheWith({ policy: full(), budget: 1 }), ...ofOne([40]));
    expect([cache.seen, cache.entries(0), cache.entries(1)]).toEqual([
      40,
      first.entries(0),
      first.entries(1),
    ]);
    const again = driven(cache, shape);
    play(again, { seed: 1, shape, turns: events }, undefined, 1);
    expect(cache.entries(1)).toEqual(played(cacheWith({ policy: full(), budget: 1 }), ...events).entries(1));
    expect(() => cache.trim(3)).toThrow('this cache has read 2 turns, and cannot go back to 3');
    expect(() => cache.trim(0)).toThrow(expect.objectContaining({ code: 'invalid-option' }));
  });

  it.each([
    ['elastic', elastic()],
    ['elastic-plus', elasticPlus()],
    ['elastic-novelty', createPolicy('elastic-novelty')],
    ['h2o', h2o()],
  ] as const)('%s goes on behind it', (_, policy) => {
    const cache = played(cacheWith({ policy }), ...ofOne([80, 20], ...steps(20)));
    cache.trim(1);
    expect(cache.seen).toBe(100);
    expect(Math.max(...cache.entries(0).positions)).toBeLessThan(100);
    played(cache, ...steps(30));
    expect(cache.stats().tokensHeld).toBe(26);
  });

  it.each(policyNames)('%s goes back over a turn that was compressed with what came before', (name) => {
    const cache = played(
      cacheWith({ policy: createPolicy(name), budget: 0.4 }),
      ...ofOne([60], ...steps(5), [40], ...steps(5)),
    );
    cache.trim(1);
    const positions = [0, 1].map((layer) => Array.from(cache.entries(layer).positions));
    expect(cache.seen).toBe(60);
    expect(Math.max(...positions.flat())).toBeLessThan(60);
    played(cache, ...steps(30), ...ofOne([20]), ...steps(3));
    expect(cache.seen).toBe(113);
  });
});

describe('turns of several sequences in alternation', () => {
  it('see what is held as it is then, whatever the others do in between', () => {
    const both = new KVCache({ policy: full(), budget: 1, ...shape, batch: 2 });
    const numbers = (tokens: number, from: number) =>
      [0, 1].map((layer) => {
        const rows = Float32Array.from({ length: 4 * tokens }, (_, i) => from + layer * 100 + i);
        return { keys: rows, values: rows };
      });
    both.appendTurn(numbers(9, 1000), 9, {}, 0);
    both.appendTurn(numbers(5, 2000), 5, {}, 1);
    // The first begins another turn and keeps nothing of it yet; the second has all blocks made anew.
    both.reserve(0, 0, 0);
    both.appendTurn(numbers(90, 3000), 90, {}, 1);
    both.appendStep(numbers(1, 4000), [1]);
    expect(both.past(0, 0).capacity).toBe(both.past(0).capacity);
    both.appendTurn(numbers(3, 5000), 3, {}, 0);
    const alone = new KVCache({ policy: full(), budget: 1, ...shape });
    alone.appendTurn(numbers(9, 1000), 9);
    alone.appendTurn(numbers(3, 5000), 3);
    expect([both.entries(0, 0), both.entries(1, 0)]).toEqual([alone.entries(0), alone.entries(1)]);
    expect(both.seenBy(1)).toBe(96);
  });
});

describe('what fails leaves what was held', () => {
  const failing = (when: (tokens: number) => boolean): CachePolicy => ({
    ...full(),
    name: 'failing',
    begin: () =>
      eachLayer({
        compress: ({ tokens, fresh }) => (when(fresh) ? (undefined as never) : keepAll(tokens)),
        evict: () => -1,
      }),
  });

  it('a turn that the policy fails at', () => {
    const cache = played(
      cacheWith({ policy: failing((fresh) => fresh === 7), budget: 1 }),
      ...ofOne([20], 'step'),
    );
    const before = cache.entries(0);
    expect(() => cache.appendTurn(zeros(7, 0), 7)).toThrow('policy "failing"');
    expect([cache.seen, cache.begun, cache.entries(0)]).toEqual([21, true, before]);
    cache.appendTurn(zeros(8, 0), 8);
    expect(cache.seen).toBe(29);
  });

  it('a turn that is let go', () => {
    const cache = played(cacheWith(), ...ofOne([20], 'step'));
    const before = cache.entries(0);
    cache.appendTurn(zeros(7, cache.past(0, 0).capacity), 7, { turnContinues: true });
    cache.abandon();
    expect([cache.seen, cache.begun, cache.reading, cache.entries(0)]).toEqual([21, true, 0, before]);
  });
});
