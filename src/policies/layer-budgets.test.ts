import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { equalShares, falling, LayerBudgets } from './layer-budgets.js';

const sum = (counts: Int32Array) => counts.reduce((total, count) => total + count, 0);

describe('falling', () => {
  it('has the mean asked for, never rises, and stays within what there is', () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 500 }),
        fc.nat(500),
        (layers, mean, more) => {
          const entries = falling(layers, mean, mean + more, 20);
          expect(sum(entries)).toBe(layers * mean);
          expect(Math.max(...entries)).toBeLessThanOrEqual(mean + more);
          for (let layer = 1; layer < layers; layer++) {
            expect(entries[layer]).toBeLessThanOrEqual(entries[layer - 1]!);
          }
        },
      ),
    ));

  it('ends at a twentieth of the mean, as in the paper; what rounding leaves goes to the first layer', () => {
    expect(Array.from(falling(5, 100, 1000, 20))).toEqual([196, 147, 100, 52, 5]);
  });
});

describe('equalShares', () => {
  it('gives a layer whose attention is concentrated fewer entries', () => {
    const entries = equalShares([Float64Array.of(8, 1, 1, 0), Float64Array.of(3, 3, 2, 2)], 2, 1);
    expect(Array.from(entries)).toEqual([1, 3]);
  });

  it('has the mean asked for, and one threshold of cumulative importance for all layers', () =>
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 8, maxLength: 8 }), {
          minLength: 1,
          maxLength: 5,
        }),
        fc.integer({ min: 2, max: 8 }),
        (rows, mean) => {
          const ranked = rows.map((row) =>
            Float64Array.from(row.with(0, row[0]! + 1))
              .sort()
              .reverse(),
          );
          const entries = equalShares(ranked, mean, 1);
          expect(sum(entries)).toBe(ranked.length * mean);
          const share = (layer: number, count: number) =>
            ranked[layer]!.slice(0, count).reduce((a, b) => a + b, 0) /
            ranked[layer]!.reduce((a, b) => a + b, 0);
          // Without its last entry every layer is below what each layer that could take more has with all of its own.
          const before = ranked.map((_, layer) =>
            entries[layer]! > 1 ? share(layer, entries[layer]! - 1) : 0,
          );
          const after = ranked.map((_, layer) => (entries[layer]! < 8 ? share(layer, entries[layer]!) : 2));
          expect(Math.max(...before)).toBeLessThanOrEqual(Math.min(...after) + 1e-12);
        },
      ),
    ));
});

describe('LayerBudgets', () => {
  it('keeps the sum exact and each part near what it was, for turns of any length', () =>
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 5, max: 50 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 30 }),
        (start, turns) => {
          const mean = Math.ceil(start.reduce((a, b) => a + b) / start.length);
          const entries = Int32Array.from(start);
          for (let left = mean * entries.length - sum(entries); left > 0; left--) entries[0]!++;
          const seen = 2 * mean;
          const budgets = new LayerBudgets(entries, seen, 3);
          let before = entries;
          let now = seen;
          for (const turn of turns) {
            now += turn;
            const allowed = Math.floor(now / 2);
            const held = entries.map((_, layer) => budgets.of(layer, now, allowed));
            expect(sum(held)).toBe(allowed * entries.length);
            held.forEach((count, layer) => {
              expect(count).toBeLessThanOrEqual(before[layer]! + turn);
              expect(count).toBeGreaterThanOrEqual(3);
            });
            before = held;
          }
        },
      ),
    ));

  it('lets a layer with a larger part grow faster', () => {
    const budgets = new LayerBudgets(Int32Array.of(30, 10), 100, 2);
    expect([budgets.of(0, 200, 40), budgets.of(1, 200, 40)]).toEqual([60, 20]);
  });
});
