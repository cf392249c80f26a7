import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, graphOf, type Model, type Node } from '../../src/graph/onnx/onnx.js';
import { GraphIndex, topologicalOrder } from '../../src/graph/onnx/queries.js';
import { fixture } from './exported-runs.js';

/** Changes GreaterOrEqual(ReduceMax(position_ids), 32), what a Cast makes of it being the number that moves the positions. */
type Change = (comparison: Node, builder: GraphBuilder, index: GraphIndex) => void;

const CHANGES: Record<string, Change> = {
  'as it is': () => {},
  'the largest position and one more': (comparison, builder) => {
    comparison.opType = 'Greater';
    comparison.input[0] = builder.op('Add', [builder.int64('one', [], [1]), comparison.input[0]]);
  },
  'the largest position less one': (comparison, builder) => {
    const less = builder.op('Sub', [comparison.input[0], builder.int64('one', [], [1])]);
    comparison.input = [less, builder.int64('limit', [], [31])];
  },
  'both axes named': (comparison, builder, index) => {
    index.producer(comparison.input[0]!)!.input.push(builder.int64('both_axes', [2], [0, -1]));
  },
  'int32, dimensions kept': (comparison, builder) => {
    const cast = builder.op('Cast', ['position_ids'], { attributes: { to: DataType.INT32 } });
    const last = builder.op('ReduceMax', [cast], { attributes: { keepdims: 1 } });
    comparison.input = [builder.op('Squeeze', [last]), builder.int32('limit', [], [32])];
  },
  'the length of the mask': (comparison, builder) => {
    const shape = builder.op('Shape', ['attention_mask']);
    comparison.opType = 'Greater';
    comparison.input[0] = builder.op('Gather', [shape, builder.int64('second', [], [1])]);
  },
  'a Where': (comparison, builder, index) => {
    const cast = index.consumers(comparison.output[0]!)[0]!;
    builder.graph.node = builder.graph.node.filter((node) => node !== cast);
    const numbers = [builder.int64('one', [], [1]), builder.int64('zero', [], [0])];
    builder.op('Where', [comparison.output[0], ...numbers], { outputs: cast.output });
  },
};

/** Ways to write the comparison by which `genai-longrope-dml`, float16, chooses its rotation, all with the same result. */
export const COMPARISONS = Object.keys(CHANGES);

/** That decoder with its comparison written in one of these ways, or changed. */
export async function longRope(way: string | Change): Promise<Model> {
  const model = await fixture('genai-longrope-dml');
  const builder = new GraphBuilder(model);
  const { graph } = builder;
  const comparison = graph.node.find(({ opType }) => opType === 'GreaterOrEqual')!;
  const change = typeof way === 'string' ? CHANGES[way]! : way;
  change(comparison, builder, new GraphIndex(graphOf(model)));
  graph.node = topologicalOrder(graph);
  return model;
}
