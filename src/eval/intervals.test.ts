import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bootstrap, mean, median, wilson } from './intervals.js';

describe('wilson', () => {
  // Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])('gives the published interval for %i of %i', (right, total, low, high) => {
    const interval = wilson(right, total);
    expect(interval.value).toBe(right / total);
    expect(interval.low).toBeCloseTo(low, 4);
    expect(interval.high).toBeCloseTo(high, 4);
  });

  it('holds the share and stays within 0 and 1', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(200), (right, wrong) => {
        fc.pre(right + wrong > 0);
        const { value, low, high } = wilson(right, right + wrong);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(low).toBeLessThanOrEqual(value);
        expect(high).toBeGreaterThanOrEqual(value);
        expect(high).toBeLessThanOrEqual(1);
      }),
    );
    for (let total = 1; total <= 500; total++) {
      expect(wilson(total, total).high).toBe(1);
      expect(wilson(0, total).low).toBe(0);
    }
  });
});

describe('bootstrap', () => {
  it('comes near the interval that theory gives for a mean', () => {
    const values = Array.from({ length: 100 }, (_, index) => index);
    const error = Math.sqrt((100 ** 2 - 1) / 12 / 100);
    const { value, low, high } = bootstrap(values, mean);
    expect(value).toBe(49.5);
    expect(low).toBeGreaterThan(49.5 - 2.15 * error);
    expect(low).toBeLessThan(49.5 - 1.75 * error);
    expect(high).toBeGreaterThan(49.5 + 1.75 * error);
    expect(high).toBeLessThan(49.5 + 2.15 * error);
  });

  it('is the same every time, a point for equal samples, and none for one', () => {
    const values = [3, 1, 4, 1, 5];
    expect(bootstrap(values, median)).toEqual(bootstrap(values, median));
    expect(bootstrap([2, 2, 2], mean)).toEqual({ value: 2, low: 2, high: 2 });
    expect(bootstrap([7], mean)).toEqual({ value: 7, low: null, high: null });
  });
});

it('the median of an even number is between the two in the middle', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([10, 9, 2])).toBe(9);
});
