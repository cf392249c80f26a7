import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rougeL, rougeLUnion, rougeN } from './rouge.js';

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

describe('ROUGE of other scripts', () => {
  it.each([
    ['Chinese', '草地上有一个红色的球', '草地上有一个蓝色的球', 0.9],
    ['Japanese', '芝生の上に赤いボールがあります', '芝生の上に青いボールがあります', 14 / 15],
    ['Thai', 'มีลูกบอลสีแดง', 'มีลูกบอลสีฟ้า', 0.6],
    ['Khmer', 'បាល់ពណ៌ក្រហម', 'បាល់ពណ៌ខៀវ', 0.5],
    ['Chinese beside English', '一只 dog 在跑', '一只 cat 在跑', 0.8],
  ])('%s: texts that differ in a word agree about the rest', (_, answer, reference, least) => {
    expect(rougeL(answer, reference).f1).toBeGreaterThanOrEqual(least);
    expect(rougeL(answer, reference).f1).toBeLessThan(1);
  });

  it.each([
    ['vowel signs', 'लाल के घर', 'लाल को घर'],
    ['tones', 'ใกล้', 'ใกล'],
    ['short vowels', 'عَلَم', 'عِلْم'],
    ['points', 'שָׁלוֹם', 'שְׁלוֹם'],
    ['accents', 'peche', 'pêche'],
  ])('words that differ in %s are not the same', (_, a, b) => {
    expect(rougeN(a, b, 1).f1).toBeLessThan(1);
  });

  it('an accent is the same whether it is composed or not, and an apostrophe however it is drawn', () => {
    for (const text of ['Un café près de là', 'Ein Äpfelchen', 'Tiếng Việt', '한국어']) {
      expect(rougeL(text.normalize('NFD'), text.normalize('NFC')).f1).toBe(1);
    }
    expect(rougeL("It's a dog", 'It’s a dog').f1).toBe(1);
  });
});

describe('ROUGE-L by union', () => {
  // Each computed by the package itself.
  it.each([
    ['A cat sat. A dog ran on the mat.', 'The cat sat on the mat. A dog ran.', 1, 8 / 9],
    ['the the the cat', 'the cat cat', 1, 1],
    ['a b c d. e f g', 'e f. a c x d', 5 / 7, 5 / 6],
    ['A red ball lies on the grass.  ', 'A blue ball lies on the green grass. It is small.', 0.75, 6 / 11],
    ['x. . y', 'y.x', 2 / 3, 1],
    ['one two three four five. six seven eight', 'six seven. one three five eight two.', 0.75, 6 / 7],
    ['nothing in common', 'entirely different words', 0, 0],
  ])('"%s" and "%s"', (answer, reference, precision, recall) => {
    const score = rougeLUnion(answer, reference);
    expect(score.precision).toBeCloseTo(precision, 12);
    expect(score.recall).toBeCloseTo(recall, 12);
  });
});
