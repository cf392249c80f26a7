import fc from 'fast-check';
import { expect, it } from 'vitest';
import { descending, range } from './ranking.js';

it('puts indices in order as a sort with a comparison does, of equal scores the earlier first', () => {
  const score = fc.oneof(fc.integer({ min: -2, max: 2 }), fc.constant(-0), fc.double({ noNaN: true }));
  fc.assert(
    fc.property(fc.array(score, { maxLength: 40 }), fc.integer({ min: 0, max: 9 }), (scores, start) => {
      const indices = range(start, scores.length);
      const wanted = indices.slice().sort((a, b) => scores[b]! - scores[a]! || a - b);
      expect([...descending(Float64Array.from(scores), indices)]).toEqual([...wanted]);
    }),
  );
});

it('puts what is no number last, and loses none of it', () => {
  expect([...descending(Float64Array.of(Number.NaN, 1, Number.NaN, 2), range(0, 4))]).toEqual([3, 1, 0, 2]);
});
