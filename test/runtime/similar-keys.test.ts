import { afterAll, expect, it } from 'vitest';
import { mostSimilar, type SimilarKeys } from '../../src/memory/turns/most-similar.js';
import { Random } from '../../src/random.js';
import { SimilarKeyFinder } from '../../src/runtime/keys/similar.js';

const finder = new SimilarKeyFinder();
afterAll(() => finder.release());

/** [heads] of [candidates, headDim] random keys, every seventh of zeros. */
function keysOf(heads: number, headDim: number, candidates: number, seed: number): Float32Array[] {
  const random = new Random(seed);
  return Array.from({ length: heads }, () =>
    Float32Array.from({ length: candidates * headDim }, (_, i) =>
      Math.floor(i / headDim) % 7 === 3 ? 0 : random.next() - 0.5,
    ),
  );
}

/** A question about them; candidates take turns at being anchors. */
function questionOf(keys: readonly Float32Array[], headDim: number, every: number): SimilarKeys {
  const all = Int32Array.from({ length: keys[0]!.length / headDim }, (_, i) => i);
  return {
    heads: keys.length,
    headDim,
    from: all.filter((i) => i % every !== 1),
    anchors: all.filter((i) => i % every === 1),
    gather(some, to, start) {
      for (const head of keys) {
        for (const candidate of some) {
          to.set(head.subarray(candidate * headDim, (candidate + 1) * headDim), start);
          start += headDim;
        }
      }
    },
  };
}

it.each([
  ['one head', 1, 8, 60, 5],
  ['three heads', 3, 8, 60, 5],
  ['more cosines than are held at once', 2, 4, 4200, 2],
])('finds the keys that a plain loop finds: %s', async (_, heads, headDim, candidates, every) => {
  const keys = keysOf(heads, headDim, candidates, heads * candidates);
  const question = questionOf(keys, headDim, every);
  const [found] = await finder.find([question]);
  const [wanted] = mostSimilar([question]);
  expect(worse(keys, question, found!, wanted!)).toEqual([]);
  expect(found!.filter((anchor, i) => anchor === wanted![i]).length).toBeGreaterThan(0.99 * found!.length);
});

it('answers questions of several sizes together as each alone, those asked at once too', async () => {
  const sizes = [60, 60, 60, 40, 60, 60];
  const asked = sizes.map((candidates, seed) => {
    const keys = keysOf(2, 8, candidates, seed);
    return { keys, question: questionOf(keys, 8, 5) };
  });
  const questions = asked.map(({ question }) => question);
  const [all, reversed] = await Promise.all([finder.find(questions), finder.find(questions.toReversed())]);
  for (const [index, wanted] of mostSimilar(questions).entries()) {
    const { keys, question } = asked[index]!;
    expect(worse(keys, question, all[index]!, wanted)).toEqual([]);
    expect(worse(keys, question, reversed.at(-1 - index)!, wanted)).toEqual([]);
  }
});

/** Candidates whose anchor is less like them than it could be. Of two that are as good as alike, rounding decides. */
function worse(
  keys: readonly Float32Array[],
  { headDim, from }: SimilarKeys,
  found: Int32Array,
  wanted: Int32Array,
): number[] {
  const cosine = (a: number, b: number) =>
    keys.reduce((sum, head) => {
      const key = (at: number) => head.subarray(at * headDim, (at + 1) * headDim);
      const [x, y] = [key(a), key(b)];
      const length = Math.hypot(...x) * Math.hypot(...y);
      return sum + (length > 0 ? x.reduce((dot, value, i) => dot + value * y[i]!, 0) / length : 0);
    }, 0);
  expect(found).toHaveLength(from.length);
  return [...from].filter(
    (candidate, i) => !(cosine(candidate, wanted[i]!) - cosine(candidate, found[i]!) <= 1e-6),
  );
}
