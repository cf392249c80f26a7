import { afterAll, expect, it } from 'vitest';
import { mostSimilar } from '../../src/memory/rows/most-similar.js';
import { Random } from '../../src/random.js';
import { SimilarKeyFinder } from '../../src/runtime/keys/similar.js';

const finder = new SimilarKeyFinder();
afterAll(() => finder.release());

/** A question about random keys, every seventh of zeros; candidates take turns at being anchors. */
function question(heads: number, headDim: number, candidates: number, every: number) {
  const random = new Random(heads * candidates);
  const keys = Array.from({ length: heads }, () =>
    Float32Array.from({ length: candidates * headDim }, (_, i) =>
      Math.floor(i / headDim) % 7 === 3 ? 0 : random.next() - 0.5,
    ),
  );
  const all = Int32Array.from({ length: candidates }, (_, i) => i);
  return {
    keys: () => keys,
    headDim,
    from: all.filter((i) => i % every !== 1),
    anchors: all.filter((i) => i % every === 1),
  };
}

it.each([
  ['one head', 1, 8, 60, 5],
  ['three heads', 3, 8, 60, 5],
  ['more cosines than are held at once', 2, 4, 4200, 2],
])('finds the keys that a plain loop finds: %s', async (_, heads, headDim, candidates, every) => {
  const asked = question(heads, headDim, candidates, every);
  const found = await finder.find(asked);
  const wanted = mostSimilar(asked);
  const keys = asked.keys();
  const cosine = (a: number, b: number) =>
    keys.reduce((sum, head) => {
      const key = (at: number) => head.subarray(at * headDim, (at + 1) * headDim);
      const [x, y] = [key(a), key(b)];
      const length = Math.hypot(...x) * Math.hypot(...y);
      return sum + (length > 0 ? x.reduce((dot, value, i) => dot + value * y[i]!, 0) / length : 0);
    }, 0);
  expect(found).toHaveLength(asked.from.length);
  // Of two that are as good as alike, rounding decides.
  const worse = asked.from.filter(
    (candidate, i) => cosine(candidate, wanted[i]!) - cosine(candidate, found[i]!) > 1e-6,
  );
  expect([...worse]).toEqual([]);
  expect(found.filter((anchor, i) => anchor === wanted[i]).length).toBeGreaterThan(0.99 * found.length);
});
