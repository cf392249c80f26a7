import { describe, expect, it } from 'vitest';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, type Model } from '../../src/graph/onnx/onnx.js';
import { topologicalOrder } from '../../src/graph/onnx/queries.js';
import { fixture, largestDifference, runBoth } from './exported-runs.js';
import { longRope } from './longrope.js';

/** Makes a value of another one, which its readers read instead. */
type Instead = (builder: GraphBuilder, value: string) => string;

function replace(builder: GraphBuilder, value: string, instead: Instead): void {
  const { graph } = builder;
  const readers = graph.node.filter(({ input }) => input.includes(value));
  const other = instead(builder, value);
  for (const reader of readers) reader.input = reader.input.map((name) => (name === value ? other : name));
  graph.node = topologicalOrder(graph);
}

const zero = (builder: GraphBuilder) => builder.int64('zero', [], [0]);

/** The same value, under two Ifs, by whether there is one row. */
function underIfs(builder: GraphBuilder, value: string): string {
  const rows = builder.op('Gather', [builder.op('Shape', ['inputs_embeds']), zero(builder)]);
  const one = builder.op('Equal', [rows, builder.int64('one', [], [1])]);
  const branch = (depth: number) => {
    const inner = builder.branch('branch');
    const made = depth === 0 ? inner.op('Identity', [value]) : choice(inner, depth - 1);
    inner.output(made, DataType.FLOAT, ['batch_size', 'sequence_length', 'features']);
    return { graph: inner.graph };
  };
  const choice = (within: GraphBuilder, depth: number): string =>
    within.op('If', [one], { attributes: { then_branch: branch(depth), else_branch: branch(depth) } });
  return choice(builder, 1);
}

const ON_ACTIVATIONS: Record<string, Instead> = {
  'a least value': (builder, value) => {
    const least = builder.float32('least', [], [-0.01]);
    return builder.op('Where', [builder.op('Greater', [value, least]), value, least]);
  },
  'whether a token has any': (builder, value) => {
    const sum = builder.op('ReduceSum', [builder.op('Abs', [value]), builder.int64('last_axis', [1], [-1])]);
    const any = builder.op('Greater', [sum, builder.float32('nothing', [], [0])]);
    return builder.op('Mul', [value, builder.op('Cast', [any], { attributes: { to: DataType.FLOAT } })]);
  },
  'an If in an If, by the rows': underIfs,
};

const FIXTURES = ['torch-eager', 'torch-sdpa', 'torch-no-positions', 'dynamo-sdpa', 'genai-grouped'];
const PASSES = { chunks: [5, 4, 1, 1], originalChunks: [9, 1, 1] };

async function expectSame(model: Model): Promise<void> {
  const { actual, expected } = await runBoth(model, PASSES);
  expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
}

describe.each(Object.keys(ON_ACTIVATIONS))('a choice by activations: %s', (way) => {
  it.each(FIXTURES)('gives the same, %s', async (name) => {
    const model = await fixture(name);
    const builder = new GraphBuilder(model);
    const activation = builder.graph.node.findLast(({ opType }) => opType === 'Sigmoid')!;
    replace(builder, activation.input[0]!, ON_ACTIVATIONS[way]!);
    await expectSame(model);
  });
});

describe("a choice by each token's own position", () => {
  /** Positions from 6 on are moved. */
  const moved: Instead = (builder, value) => {
    const early = builder.op('Less', [value, builder.int64('limit', [], [6])]);
    const far = builder.op('Add', [value, builder.int64('move', [], [100])]);
    return builder.op('Where', [early, value, far]);
  };

  it.each(['torch-eager', 'torch-sdpa', 'dynamo-sdpa'])('gives the same, %s', async (name) => {
    const model = await fixture(name);
    replace(new GraphBuilder(model), 'position_ids', moved);
    await expectSame(model);
  });

  const ofAll: Record<string, (builder: GraphBuilder, each: string) => string> = {
    'whether there is a late one': (builder, each) =>
      builder.op('ReduceMax', [each], { attributes: { keepdims: 0 } }),
    'how many are late': (builder, each) => builder.op('ReduceSum', [each], { attributes: { keepdims: 0 } }),
    'how many are late until then': (builder, each) =>
      builder.op('CumSum', [each, builder.int64('axis', [], [1])]),
    'the last one': (builder, each) =>
      builder.op('Gather', [each, builder.int64('last', [1], [-1])], { attributes: { axis: 1 } }),
    'a product over the tokens': (builder, each) => {
      const turned = builder.op('Transpose', [each], { attributes: { perm: [1, 0] } });
      return builder.op('MatMul', [each, turned]);
    },
  };

  it.each(Object.keys(ofAll))('is refused where all tokens get it: %s', async (way) => {
    const model = await longRope((comparison, builder, index) => {
      comparison.input[0] = 'position_ids';
      const cast = index.consumers(comparison.output[0]!)[0]!;
      const [late = ''] = cast.output;
      cast.output = [builder.fresh('late')];
      const all = ofAll[way]!(builder, cast.output[0]!);
      for (const reader of index.consumers(late)) {
        reader.input = reader.input.map((name) => (name === late ? all : name));
      }
    });
    expect(inspectDecoder(model).refusal).toMatch(
      /\(GreaterOrEqual\) chooses by the attention mask or the positions/,
    );
  });
});
