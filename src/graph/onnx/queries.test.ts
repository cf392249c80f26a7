import { describe, expect, it } from 'vitest';
import { openModel } from '../../../test/graph/decoder-runs.js';
import { fixture } from '../../../test/graph/exported-runs.js';
import { rewriteDecoder } from '../rewrite.js';
import { type AttributeValue, attributeInit, attributeOf } from './attributes.js';
import { GraphBuilder } from './builder.js';
import { createNode, DataType, graphOf, type Model, type Tensor } from './onnx.js';
import { GraphIndex } from './queries.js';
import { dimsOf } from './tensors.js';

const WRITTEN: Record<string, { value: AttributeValue; type: DataType; dims: number[]; numbers: number[] }> =
  {
    value_int: { value: 7, type: DataType.INT64, dims: [], numbers: [7] },
    value_ints: { value: [1, -1, 4], type: DataType.INT64, dims: [3], numbers: [1, -1, 4] },
    value_float: { value: { float: 0.5 }, type: DataType.FLOAT, dims: [], numbers: [0.5] },
    value_floats: { value: { floats: [0.5, -2] }, type: DataType.FLOAT, dims: [2], numbers: [0.5, -2] },
  };

describe('a Constant', () => {
  it.each(Object.keys(WRITTEN))('is known by its %s', (name) => {
    const { value, type, dims, numbers } = WRITTEN[name]!;
    const builder = GraphBuilder.create('constants', { '': 21 });
    const made = builder.op('Constant', [], { attributes: { [name]: value } });
    const index = new GraphIndex(builder.graph);
    const tensor = index.constant(made)!;
    expect(tensor.dataType).toBe(type);
    expect(dimsOf(tensor)).toEqual(dims);
    expect(index.constantNumbers(made)).toEqual(numbers);
  });

  it('of no numbers is known too', () => {
    const builder = GraphBuilder.create('constants', { '': 21 });
    const made = builder.op('Constant', [], { attributes: { value_ints: [] } });
    const index = new GraphIndex(builder.graph);
    expect(dimsOf(index.constant(made)!)).toEqual([0]);
    expect(index.constantNumbers(made)).toEqual([]);
  });

  it.each(['torch-eager', 'dynamo-eager'])('written as numbers changes nothing: %s', async (name) => {
    const before = rewriteDecoder(await fixture(name));
    const model = await fixture(name);
    expect(asNumbers(model)).toBeGreaterThan(10);
    await (await openModel(model)).release();
    const after = rewriteDecoder(model);
    expect(after.decoder).toEqual(before.decoder);
    expect(after.report).toMatchObject({ layers: before.report.layers });
  });
});

/** Writes each constant of int64 as value_int or value_ints; gives how many there are. */
function asNumbers(model: Model): number {
  const graph = graphOf(model);
  let count = 0;
  const attributes = (tensor: Tensor) => {
    count++;
    const ints = int64s(tensor);
    const [first = 0n] = ints;
    const attribute =
      tensor.dims.length === 0 ? attributeInit('value_int', 0) : attributeInit('value_ints', []);
    return [tensor.dims.length === 0 ? { ...attribute, i: first } : { ...attribute, ints }];
  };
  const fits = ({ dataType, dims }: Tensor) => dataType === DataType.INT64 && dims.length <= 1;
  for (const node of graph.node) {
    const tensor = node.opType === 'Constant' && attributeOf(node, 'value')?.t;
    if (tensor && fits(tensor)) node.attribute = createNode({ attribute: attributes(tensor) }).attribute;
  }
  const moved = graph.initializer.filter(fits);
  graph.initializer = graph.initializer.filter((tensor) => !fits(tensor));
  for (const tensor of moved) {
    graph.node.unshift(
      createNode({
        opType: 'Constant',
        name: `of ${tensor.name}`,
        output: [tensor.name],
        attribute: attributes(tensor),
      }),
    );
  }
  return count;
}

function int64s({ int64Data, rawData }: Tensor): bigint[] {
  if (int64Data.length > 0) return int64Data;
  return [...new BigInt64Array(Uint8Array.from(rawData).buffer)];
}
