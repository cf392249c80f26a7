import { afterEach, describe, expect, it, vi } from 'vitest';
import { GraphBuilder } from '../onnx/builder.js';
import { DataType } from '../onnx/onnx.js';
import { GraphIndex } from '../onnx/queries.js';
import { lengthConstants } from './length-constants.js';

afterEach(() => {
  vi.unstubAllGlobals();
});

/** The number of elements of the largest array of numbers that is made from here on. */
function largestMade(): () => number {
  let largest = 0;
  class Watched extends Float64Array {
    constructor(length: number) {
      super(length);
      largest = Math.max(largest, length);
    }
  }
  vi.stubGlobal('Float64Array', Watched);
  return () => largest;
}

const decoder = () => GraphBuilder.create('decoder', { '': 21 });

describe('the constants behind a value', () => {
  it('are computed for that value alone, and once', () => {
    const builder = decoder();
    const number = (value: number) => builder.int64('number', [], [value]);
    const other = builder.op('Add', [builder.float32('other', [1000], new Float32Array(1000)), number(3)]);
    const product = builder.op('Mul', [number(10), number(12)]);
    const value = builder.op('Less', ['position_ids', product]);
    const index = new GraphIndex(builder.graph);
    const read = vi.spyOn(index, 'constant');
    expect(lengthConstants(index, value)).toEqual({ number: 120, tables: [] });
    const names = read.mock.calls.map(([name]) => name);
    expect(names).not.toContain('other');
    expect(lengthConstants(index, value).number).toBe(120);
    expect(read).toHaveBeenCalledTimes(names.length);
    expect(lengthConstants(index, other)).toEqual({ number: 3, tables: [1000] });
  });

  it('name each length of the tables once, the largest first', () => {
    const builder = decoder();
    const tables = [[1, 1, 4, 8], [8, 20], [4]].map((dims) =>
      builder.raw('table', DataType.INT8, dims, new Uint8Array(dims.reduce((a, b) => a * b))),
    );
    const value = builder.op('Gather', [builder.op('Max', tables.slice(0, 2)), 'position_ids']);
    expect(lengthConstants(new GraphIndex(builder.graph), value).tables).toEqual([20, 8, 4]);
  });

  it('count no least number of float16 for a length, whatever type it was cast to', () => {
    const builder = decoder();
    const least = builder.raw('least', DataType.FLOAT16, [], Uint8Array.of(0xff, 0xfb));
    const cast = builder.op('Cast', [least], { attributes: { to: DataType.FLOAT } });
    const hidden = builder.op('Mul', ['mask', builder.op('Add', [cast, builder.float32('zero', [], [0])])]);
    const moved = builder.op('Add', ['position_ids', builder.int64('back', [], [-65504])]);
    const index = new GraphIndex(builder.graph);
    expect(lengthConstants(index, hidden).number).toBe(0);
    expect(lengthConstants(index, moved).number).toBe(65504);
  });

  it.each<[string, (builder: GraphBuilder) => string]>([
    [
      'Expand',
      (builder) =>
        builder.op('Expand', [builder.float32('one', [], [1]), builder.int64('size', [2], [4096, 4096])]),
    ],
    [
      'ConstantOfShape',
      (builder) => builder.op('ConstantOfShape', [builder.int64('size', [2], [4096, 4096])]),
    ],
    [
      'Tile',
      (builder) =>
        builder.op('Tile', [builder.float32('one', [1], [1]), builder.int64('times', [1], [4096 * 4096])]),
    ],
    [
      'Range',
      (builder) =>
        builder.op(
          'Range',
          [0, 4096 * 4096, 1].map((each) => builder.int64('end', [], [each])),
        ),
    ],
    [
      'Sub',
      (builder) =>
        builder.op(
          'Sub',
          [[4096, 1], [4096]].map((dims) => builder.float32('line', dims, new Float32Array(4096))),
        ),
    ],
  ])('are not made where they are too many: %s', (_, make) => {
    const builder = decoder();
    const index = new GraphIndex(builder.graph);
    const value = make(builder);
    const made = largestMade();
    lengthConstants(new GraphIndex(index.graph), value);
    expect(made()).toBeLessThanOrEqual(4096);
  });
});
