import { describe, expect, it } from 'vitest';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { graphOf, MICROSOFT, type Model, type Node } from '../../src/graph/onnx/onnx.js';
import { GraphIndex, topologicalOrder } from '../../src/graph/onnx/queries.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { openModel } from './decoder-runs.js';
import { fixture, largestDifference, runBoth } from './exported-runs.js';

/** The nodes of a decoder's first layer that attend. */
interface Layer {
  builder: GraphBuilder;
  index: GraphIndex;
  /** Queries by keys, and weights by values. */
  scores: Node;
  product: Node;
  softmax: Node;
}

/** A decoder of one key head for each query head (opset 14, hidden size 64) whose first layer attends in another form. */
async function changed(change: (layer: Layer) => void): Promise<Model> {
  const model = await fixture('torch-eager');
  const builder = new GraphBuilder(model);
  builder.importOpset(MICROSOFT, 1);
  const index = new GraphIndex(builder.graph);
  const softmax = builder.graph.node.find(({ opType }) => opType === 'Softmax')!;
  const nodes = softmaxed(index, softmax);
  change({ builder, index, softmax, ...nodes });
  builder.graph.node = topologicalOrder(builder.graph);
  return model;
}

function softmaxed(index: GraphIndex, softmax: Node) {
  const scores = (name: string): Node => {
    const node = index.producer(name)!;
    return node.opType === 'MatMul' ? node : scores(node.input[0]!);
  };
  const product = (name: string): Node => {
    const [node] = index.consumers(name);
    return node!.opType === 'MatMul' ? node! : product(node!.output[0]!);
  };
  return { scores: scores(softmax.input[0]!), product: product(softmax.output[0]!) };
}

/** Puts ONNX Runtime's own product in the place of a MatMul. */
function fuse(
  { builder }: Layer,
  node: Node,
  attributes: Record<string, number | { float: number }>,
  inputs: readonly string[] = node.input,
): void {
  const { graph } = builder;
  graph.node = graph.node.filter((each) => each !== node);
  builder.ops('FusedMatMul', inputs, {
    domain: MICROSOFT,
    attributes,
    outputs: node.output,
    name: node.name,
  });
}

const turned = (builder: GraphBuilder, name: string) =>
  builder.op('Transpose', [name], { attributes: { perm: [0, 1, 3, 2] } });

/** All from `start` to the end of the tokens of a cache [B, heads, T, headDim]. */
const from = (builder: GraphBuilder, name: string, start: number) =>
  builder.op('Slice', [
    name,
    builder.int64('start', [1], [start]),
    builder.int64('end', [1], [Number.MAX_SAFE_INTEGER]),
    builder.int64('tokens', [1], [2]),
  ]);

const ACCEPTED: Record<string, (layer: Layer) => void> = {
  'a scale in the product of queries and keys': (layer) =>
    fuse(layer, layer.scores, { alpha: { float: 0.3 } }),
  'turned keys': (layer) => {
    const [first = '', second = ''] = layer.scores.input;
    fuse(layer, layer.scores, { transB: 1 }, [first, turned(layer.builder, second)]);
  },
  'turned queries': (layer) => {
    const [first = '', second = ''] = layer.scores.input;
    fuse(layer, layer.scores, { transA: 1 }, [turned(layer.builder, first), second]);
  },
  'turned values': (layer) => {
    const [first = '', second = ''] = layer.product.input;
    fuse(layer, layer.product, { transB: 1 }, [first, turned(layer.builder, second)]);
  },
  'a slice of all values': ({ builder, product }) => {
    product.input[1] = from(builder, product.input[1]!, 0);
  },
  'a scale after the mask': ({ builder, softmax }) => {
    softmax.input[0] = builder.op('Mul', [softmax.input[0]!, builder.float32('half', [], [0.5])]);
  },
  'scores kept from being less than the least number': ({ builder, softmax }) => {
    softmax.input[0] = builder.op('Max', [softmax.input[0]!, builder.float32('least', [], [-3.4e38])]);
  },
  'a scale by the size of heads': ({ builder, softmax, index }) => {
    const add = index.producer(softmax.input[0]!)!;
    const size = builder.op('Gather', [
      builder.op('Shape', ['past_key_values.0.value']),
      builder.int64('last', [], [3]),
    ]);
    const root = builder.op('Sqrt', [builder.op('Cast', [size], { attributes: { to: 1 } })]);
    add.input[0] = builder.op('Div', [add.input[0]!, root]);
  },
};

const REFUSED: Record<string, [change: (layer: Layer) => void, reason: RegExp]> = {
  'values cut to the latest 100 tokens': [
    ({ builder, product }) => {
      product.input[1] = from(builder, product.input[1]!, -100);
    },
    /do more than repeat its heads/,
  ],
  'keys cut to the latest 100 tokens': [
    ({ builder, scores }) => {
      scores.input[1] = turned(builder, from(builder, turned(builder, scores.input[1]!), -100));
    },
    /do more than repeat its heads/,
  ],
  'a scale of what attention gives': [
    (layer) => fuse(layer, layer.product, { alpha: { float: 2 } }),
    /its values are not repeated as the keys are/,
  ],
  'a product whose batches are turned': [
    (layer) => fuse(layer, layer.scores, { transBatchA: 1 }),
    /attends with the cache of layer 0 in a way that is not supported/,
  ],
  'a scale that leaves hidden scores not small enough': [
    ({ builder, softmax }) => {
      softmax.input[0] = builder.op('Mul', [softmax.input[0]!, builder.float32('small', [], [1e-36])]);
    },
    /adds numbers other than 0 and minus infinity/,
  ],
  'a scale that grows in long texts': [
    ({ builder, softmax, index }) => {
      const add = index.producer(softmax.input[0]!)!;
      const total = builder.op('Gather', [
        builder.op('Shape', ['attention_mask']),
        builder.int64('second', [], [1]),
      ]);
      const long = builder.op('Greater', [total, builder.int64('trained', [], [2048])]);
      const scales = [builder.float32('more', [], [1.5]), builder.float32('once', [], [1])];
      add.input[0] = builder.op('Mul', [add.input[0]!, builder.op('Where', [long, ...scales])]);
    },
    /\(Mul\) changes the scores in a way that is not supported/,
  ],
};

describe("attention in another form gives the original's logits", () => {
  const chunks = [13, 7, ...new Array<number>(8).fill(1)];

  it.each(Object.keys(ACCEPTED))('%s', async (name) => {
    const { actual, expected } = await runBoth(await changed(ACCEPTED[name]!), { chunks });
    expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
  });
});

describe('attention that is something else is refused', () => {
  it.each(Object.keys(REFUSED))('%s', async (name) => {
    const [change, reason] = REFUSED[name]!;
    expect(inspectDecoder(await changed(change)).refusal).toMatch(reason);
  });
});

/** Names the caches of a decoder as exporters do that know encoders as well. */
async function named(rename: (name: string) => string): Promise<Model> {
  const model = await fixture('torch-no-positions');
  const graph = graphOf(model);
  const name = (each: string) => (/^(past_key_values|present)\./.test(each) ? rename(each) : each);
  for (const value of [...graph.input, ...graph.output]) value.name = name(value.name);
  for (const node of graph.node) {
    node.input = node.input.map(name);
    node.output = node.output.map(name);
  }
  return model;
}

describe('caches named as those of a decoder beside an encoder', () => {
  it('are taken where there is no encoder', async () => {
    const model = await named((name) => name.replace(/\.(key|value)$/, '.decoder.$1'));
    const session = await openModel(rewriteDecoder(model).model);
    expect(session.inputNames).toContain('past_key.1');
    expect(session.inputNames.filter((name) => /decoder/.test(name))).toEqual([]);
    await session.release();
  });

  it('are refused where there is one', async () => {
    const model = await named((name) => name.replace(/\.1\.(key|value)$/, '.0.encoder.$1'));
    expect(inspectDecoder(model).refusal).toContain('"past_key_values.0.encoder.key"');
  });
});
