import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { similarity } from '../../cache/similarity.js';
import { Random } from '../../random.js';
import { KeySketcher } from './key-sketch.js';

const shape = { layers: 2, kvHeads: 2, headDim: 3 };

const sketcher = new KeySketcher(shape);

describe('KeySketcher', () => {
  it('is the keys of all layers and heads of one token, at length 1, each read once', () => {
    const read: [number, number][] = [];
    const key: number[] = [];
    const sketch = sketcher.sketch((layer, head) => {
      read.push([layer, head]);
      const own = [1, 2, 3].map((i) => 100 * layer + 10 * head + i);
      key.push(...own);
      return Float32Array.from(own);
    });
    expect(read).toEqual([
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]);
    const length = Math.hypot(...key);
    expect(Array.from(sketch)).toEqual(key.map((value) => expect.closeTo(value / length, 6)));
  });

  it('stays a thousand numbers for a large model, and tells like keys from others', () =>
    fc.assert(
      fc.property(fc.nat(1e6), fc.double({ min: 0, max: 2, noNaN: true }), (seed, noise) => {
        const large = { layers: 4, kvHeads: 8, headDim: 128 };
        const random = new Random(seed);
        const centred = () => random.next() + random.next() + random.next() - 1.5;
        const one = Array.from({ length: large.layers * large.kvHeads * large.headDim }, centred);
        const other = one.map((value) => value + noise * centred());
        const [a, b] = [one, other].map((key) =>
          new KeySketcher(large).sketch((layer, head) => {
            const start = (layer * large.kvHeads + head) * large.headDim;
            return Float32Array.from(key.slice(start, start + large.headDim));
          }),
        ) as [Float32Array, Float32Array];
        expect(a).toHaveLength(1024);
        const product = (x: number[], y: number[]) => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
        const cosine = product(one, other) / Math.sqrt(product(one, one) * product(other, other));
        expect(Math.abs(similarity(a, b) - cosine)).toBeLessThan(0.15);
      }),
      { numRuns: 25 },
    ));

  it('takes a key of zeros', () => {
    expect(sketcher.sketch(() => new Float32Array(3))).toEqual(new Float32Array(12));
  });
});
