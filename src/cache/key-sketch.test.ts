import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Random } from '../random.js';
import { KeySketcher, similarity } from './key-sketch.js';

const shape = { layers: 2, kvHeads: 2, headDim: 3 };

/** [layers] keys [batch, kvHeads, tokens, headDim]: each number tells its layer, row, head, token and channel. */
function numbered(batch: number, tokens: number) {
  return Array.from({ length: shape.layers }, (_, layer) => {
    const keys: number[] = [];
    for (let row = 0; row < batch; row++)
      for (let head = 0; head < shape.kvHeads; head++)
        for (let token = 0; token < tokens; token++)
          for (let i = 0; i < shape.headDim; i++)
            keys.push(layer * 10_000 + row * 1000 + head * 100 + token * 10 + i + 1);
    return { keys: Float32Array.from(keys) };
  });
}

const sketcher = new KeySketcher(shape);

describe('KeySketcher', () => {
  it('is the keys of all layers and heads of one token and row, at length 1', () => {
    const [, second] = sketcher.sketch(numbered(2, 4), 1, 4);
    const key = [1011, 1012, 1013, 1111, 1112, 1113, 11011, 11012, 11013, 11111, 11112, 11113];
    const length = Math.hypot(...key);
    expect(Array.from(second!)).toEqual(key.map((value) => expect.closeTo(value / length, 6)));
  });

  it('says the same of a token whatever comes with it', () => {
    const both = sketcher.sketch(numbered(1, 2), 0, 2);
    const whole = numbered(1, 2).map(({ keys }) => keys);
    const alone = whole.map((keys) => ({
      keys: Float32Array.from([...keys.slice(3, 6), ...keys.slice(9, 12)]),
    }));
    expect(sketcher.sketch(alone, 0, 1)).toEqual([both[1]]);
  });

  it('stays a thousand numbers for a large model, and tells like keys from others', () =>
    fc.assert(
      fc.property(fc.nat(1e6), fc.double({ min: 0, max: 2, noNaN: true }), (seed, noise) => {
        const large = { layers: 4, kvHeads: 8, headDim: 128 };
        const random = new Random(seed);
        const centred = () => random.next() + random.next() + random.next() - 1.5;
        const keys: number[][] = [];
        const layers = Array.from({ length: large.layers }, () => {
          const first = Array.from({ length: large.kvHeads * large.headDim }, centred);
          const second = first.map((value) => value + noise * centred());
          keys.push(first, second);
          const rows = Array.from({ length: large.kvHeads }, (_, head) =>
            [first, second].flatMap((key) => key.slice(head * large.headDim, (head + 1) * large.headDim)),
          );
          return { keys: Float32Array.from(rows.flat()) };
        });
        const [a, b] = new KeySketcher(large).sketch(layers, 0, 2) as [Float32Array, Float32Array];
        expect(a).toHaveLength(1024);
        const one = keys.filter((_, index) => index % 2 === 0).flat();
        const other = keys.filter((_, index) => index % 2 === 1).flat();
        const product = (x: number[], y: number[]) => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
        const cosine = product(one, other) / Math.sqrt(product(one, one) * product(other, other));
        expect(Math.abs(similarity(a, b) - cosine)).toBeLessThan(0.15);
      }),
      { numRuns: 25 },
    ));

  it('takes a key of zeros', () => {
    const zeros = [{ keys: new Float32Array(6) }, { keys: new Float32Array(6) }];
    expect(sketcher.sketch(zeros, 0, 1)).toEqual([new Float32Array(12)]);
  });
});
