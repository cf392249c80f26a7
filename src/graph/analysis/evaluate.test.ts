import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../onnx/builder.js';
import { GraphIndex } from '../onnx/queries.js';
import { Evaluator } from './evaluate.js';

const decoder = () => GraphBuilder.create('decoder', { '': 21 });
const LONG = [2, 16, 65_569, 256];

/** Key heads, each repeated for the query heads that share it, and their shape: [B, kvHeads * repeats, T, headDim]. */
function repeated(builder: GraphBuilder): { heads: string; shape: string } {
  const wide = builder.op('Expand', [
    builder.op('Unsqueeze', ['cache', builder.int64('axis', [1], [2])]),
    builder.int64('wide', [5], [1, 1, 4, 1, 1]),
  ]);
  const heads = builder.op('Reshape', [wide, builder.int64('heads', [4], [0, 64, -1, 256])]);
  return { heads, shape: builder.op('Shape', [heads]) };
}

describe('the evaluator', () => {
  it('knows the shape of a cache that is too long to be made', () => {
    const builder = decoder();
    const { shape } = repeated(builder);
    const evaluator = new Evaluator(new GraphIndex(builder.graph), {}, { cache: LONG });
    expect([...evaluator.value(shape).data]).toEqual([2, 64, 65_569, 256]);
  });

  it('makes no elements of that shape', () => {
    const builder = decoder();
    const { shape } = repeated(builder);
    const ones = builder.op('ConstantOfShape', [shape]);
    const evaluator = new Evaluator(new GraphIndex(builder.graph), {}, { cache: LONG });
    expect(() => evaluator.value(ones)).toThrow('it takes too much computation');
  });

  it('counts no elements of a shape that has more than can be counted', () => {
    const builder = decoder();
    const flat = builder.op('Reshape', ['cache', builder.int64('flat', [1], [-1])]);
    const evaluator = new Evaluator(new GraphIndex(builder.graph), {}, { cache: [2 ** 40, 2 ** 40] });
    expect(() => evaluator.dims(flat)).toThrow('is too large');
  });
});
