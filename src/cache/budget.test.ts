import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ElasticCacheError } from '../errors.js';
import { allowance, type Budget, checkBudget, checkBudgetHoldsAnEntry } from './budget.js';

describe('checkBudget', () => {
  it.each([0.05, 1, { tokens: 1 }, { bytes: 64e6 }, { share: 0.2, tokens: 128 }])('takes %j', (budget) => {
    expect(checkBudget(budget)).toBe(budget);
  });

  it.each([
    0,
    -0.2,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    '0.2',
    null,
    {},
    { tokens: 0 },
    { tokens: 2.5 },
    { tokens: Number.NaN },
    { bytes: -1 },
    { bytes: Number.POSITIVE_INFINITY },
    { tokens: 3, bytes: 4 },
    { share: 0.2 },
    { share: 1.2, tokens: 3 },
    { share: 0.2, tokens: 0 },
    { share: 0.2, bytes: 100 },
  ])('refuses %j in one sentence', (budget) => {
    const refused = expect(() => checkBudget(budget as Budget));
    refused.toThrow(ElasticCacheError);
    refused.toThrow(/^budget [^\n]+\.$/);
  });

  it('refuses bytes that hold no token, and says what one costs', () => {
    expect(() => checkBudgetHoldsAnEntry({ bytes: 100 }, 512)).toThrow(/512 bytes/);
    expect(() => checkBudgetHoldsAnEntry({ bytes: 512 }, 512)).not.toThrow();
  });
});

describe('allowance', () => {
  it.each<[Budget, number, number]>([
    [0.2, 100, 20],
    [{ share: 0.2, tokens: 16 }, 10, 10],
    [{ share: 0.2, tokens: 16 }, 40, 16],
    [{ share: 0.2, tokens: 16 }, 100, 20],
    [0.2, 104, 20],
    [0.2, 105, 21],
    [0.2, 4, 2],
    [0.2, 1, 1],
    [1, 77, 77],
    [{ tokens: 30 }, 100, 30],
    [{ tokens: 30 }, 12, 12],
    [{ bytes: 1000 }, 100, 10],
    [{ bytes: 1099 }, 5, 5],
  ])('%j after %i tokens: %i entries', (budget, seen, entries) => {
    expect(allowance(budget, seen, 100, 2).entries).toBe(entries);
  });

  it('grows by at most one entry per token', () =>
    fc.assert(
      fc.property(fc.double({ min: 0.05, max: 1, noNaN: true }), fc.nat(1e5), (budget, seen) => {
        const grown = allowance(budget, seen + 1, 1, 2).entries - allowance(budget, seen, 1, 2).entries;
        expect(grown === 0 || grown === 1).toBe(true);
      }),
    ));
});
