import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rougeL, rougeN } from './rouge.js';

describe('ROUGE', () => {
  // Lin 2004, section 3.1: ROUGE-L rates the last two alike, ROUGE-2 the last one higher.
  it.each([
    ['police kill the gunman', 0.75, 1 / 3],
    ['the gunman kill police', 0.5, 1 / 3],
    ['the gunman police killed', 0.5, 2 / 3],
  ])('gives the numbers of the paper for "%s"', (answer, longest, pairs) => {
    expect(rougeL(answer, 'police killed the gunman').f1).toBeCloseTo(longest);
    expect(rougeN(answer, 'police killed the gunman', 2).recall).toBeCloseTo(pairs);
  });

  // The example in the documentation of rouge-score on PyPI, there with stemming, which changes no word here.
  it('gives the numbers of rouge-score', () => {
    const reference = 'The quick brown fox jumps over the lazy dog';
    const answer = 'The quick brown dog jumps on the log.';
    const one = rougeN(answer, reference, 1);
    const longest = rougeL(answer, reference);
    expect([one.precision, one.recall, one.f1]).toEqual([0.75, 6 / 9, expect.closeTo(0.70588)]);
    expect([longest.precision, longest.recall, longest.f1]).toEqual([0.625, 5 / 9, expect.closeTo(0.588235)]);
  });

  it('is 1 for the same words and 0 for none in common', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const { f1 } of [rougeN(text, text, 1), rougeN(text, text, 2), rougeL(text, text)])
          expect(f1).toBe(1);
      }),
    );
    expect(rougeL('a b', 'c d').f1).toBe(0);
    expect(rougeL('', 'c d')).toEqual({ precision: 0, recall: 0, f1: 0 });
  });
});
