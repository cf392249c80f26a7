import { describe, expect, it } from 'vitest';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { bytesSource } from '../../src/graph/onnx/byte-source.js';
import { DataType, type Model, serializeModel } from '../../src/graph/onnx/onnx.js';
import { GraphIndex, topologicalOrder } from '../../src/graph/onnx/queries.js';
import { readSkeleton } from '../../src/graph/onnx/skeleton.js';
import { fixture, largestDifference, runBoth } from './exported-runs.js';

/** Rows and columns of the tables, and so the longest text that the original takes. */
const LONGEST = 128;
const WINDOW = 100;

interface Lengths {
  past: string;
  total: string;
}

/** Makes a mask, [.., S, T], of the one there was and of lengths [1]. */
type MakeMask = (builder: GraphBuilder, mask: string, lengths: Lengths) => string;

/** 0 for what the row's token sees, a large negative number for the rest, as float32 [1, 1, longest, longest]. */
function table(window: number, longest = LONGEST): Float32Array {
  return Float32Array.from({ length: longest * longest }, (_, i) => {
    const before = Math.floor(i / longest) - (i % longest);
    return before >= 0 && before < window ? 0 : -1e9;
  });
}

const initializer = (builder: GraphBuilder, window = WINDOW) =>
  builder.float32('table', [1, 1, LONGEST, LONGEST], table(window));

/** The rows of the new tokens, the columns of all tokens. */
function cut(builder: GraphBuilder, whole: string, { past, total }: Lengths): string {
  const rows = builder.op('Slice', [whole, past, total, builder.int64('rows_axis', [1], [2])]);
  return columns(builder, rows, total);
}

function columns(builder: GraphBuilder, rows: string, total: string): string {
  return builder.op('Slice', [rows, zero(builder), total, builder.int64('columns_axis', [1], [3])]);
}

function constantNode(builder: GraphBuilder, name: string): string {
  const { graph } = builder;
  const tensor = graph.initializer.find((each) => each.name === name)!;
  graph.initializer = graph.initializer.filter((each) => each !== tensor);
  return builder.op('Constant', [], { attributes: { value: { tensor } } });
}

/** Hides besides what stands `window` tokens before, or more. */
function near(builder: GraphBuilder, mask: string, { past, total }: Lengths, window: string): string {
  const range = (from: string, axis: number) => {
    const ends = [from, total].map((name) => builder.op('Squeeze', [name]));
    const places = builder.op('Range', [...ends, builder.int64('step', [], [1])]);
    return builder.op('Unsqueeze', [places, builder.int64('axis', [1], [axis])]);
  };
  const distance = builder.op('Sub', [range(past, 1), range(zero(builder), 0)]);
  const far = builder.op('GreaterOrEqual', [distance, window]);
  const numbers = [builder.float32('hidden', [], [-1e9]), builder.float32('seen', [], [0])];
  return builder.op('Add', [mask, builder.op('Where', [far, ...numbers])]);
}

const zero = (builder: GraphBuilder) => builder.int64('zero', [1], [0]);
const number = (builder: GraphBuilder, value: number) => builder.int64('number', [], [value]);

const MASKS: Record<string, { make: MakeMask; window?: number }> = {
  'a table in a Constant': {
    make: (builder, _, lengths) => cut(builder, constantNode(builder, initializer(builder)), lengths),
    window: WINDOW,
  },
  'a table among the initializers': {
    make: (builder, _, lengths) => cut(builder, initializer(builder), lengths),
    window: WINDOW,
  },
  'a table in another shape than its own': {
    make(builder, _, lengths) {
      const flat = builder.float32('table', [LONGEST * LONGEST], table(WINDOW));
      const shape = builder.int64('table_shape', [4], [1, 1, LONGEST, LONGEST]);
      return cut(builder, builder.op('Reshape', [flat, shape]), lengths);
    },
    window: WINDOW,
  },
  'a table by the first of a longer list of positions': {
    make(builder, _, { past, total }) {
      const list = builder.int64(
        'positions',
        [4096],
        Array.from({ length: 4096 }, (_, i) => i),
      );
      const positions = builder.op('Slice', [list, past, total]);
      const rows = builder.op('Gather', [initializer(builder), positions], { attributes: { axis: 2 } });
      return columns(builder, rows, total);
    },
    window: WINDOW,
  },
  'a table with more columns than rows': {
    make(builder, _, lengths) {
      const more = builder.float32('more', [1, 1, LONGEST, LONGEST], table(0));
      const wide = builder.op('Concat', [initializer(builder), more], { attributes: { axis: 3 } });
      return cut(builder, wide, lengths);
    },
    window: WINDOW,
  },
  'a table of more numbers than are computed, in another shape': {
    make(builder, _, lengths) {
      const flat = builder.float32('table', [300 * 300], table(WINDOW, 300));
      return cut(
        builder,
        builder.op('Reshape', [flat, builder.int64('shape', [4], [1, 1, 300, 300])]),
        lengths,
      );
    },
    window: WINDOW,
  },
  'a table without a window': {
    make: (builder, _, lengths) => cut(builder, initializer(builder, LONGEST), lengths),
  },
  'a table made of constants': {
    make(builder, _, lengths) {
      const size = builder.int64('size', [2], [LONGEST, LONGEST]);
      const ones = builder.op('Expand', [builder.float32('ones', [], [1]), size]);
      const seen = builder.op('Trilu', [ones], { attributes: { upper: 0 } });
      const far = builder.op('Trilu', [ones, number(builder, -WINDOW)], { attributes: { upper: 0 } });
      const hides = builder.op('Sub', [builder.op('Sub', [ones, seen]), builder.op('Neg', [far])]);
      const whole = builder.op('Mul', [hides, builder.float32('hidden', [], [-1e9])]);
      return cut(builder, builder.op('Unsqueeze', [whole, builder.int64('two', [2], [0, 1])]), lengths);
    },
    window: WINDOW,
  },
  'a product of constants': {
    make: (builder, mask, lengths) =>
      near(builder, mask, lengths, builder.op('Mul', [number(builder, 10), number(builder, 10)])),
    window: WINDOW,
  },
  'a sum and a product of constants': {
    make(builder, mask, lengths) {
      const product = builder.op('Mul', [number(builder, 9), number(builder, 10)]);
      return near(builder, mask, lengths, builder.op('Add', [product, number(builder, 10)]));
    },
    window: WINDOW,
  },
  'one of a list of constants': {
    make(builder, mask, lengths) {
      const windows = new Array<number>(26).fill(2 ** 40).with(3, WINDOW);
      const list = builder.int64('windows', [26], windows);
      return near(builder, mask, lengths, builder.op('Gather', [list, number(builder, 3)]));
    },
    window: WINDOW,
  },
};

/** A decoder whose one mask is made in another way. */
async function masked(make: MakeMask): Promise<Model> {
  const model = await fixture('torch-eager');
  const builder = new GraphBuilder(model);
  const { graph } = builder;
  const index = new GraphIndex(graph);
  const adds = graph.node
    .filter(({ opType }) => opType === 'Softmax')
    .map((softmax) => index.producer(softmax.input[0]!)!);
  const sizeOf = (name: string) =>
    builder.op('Gather', [builder.op('Shape', [name]), builder.int64('sequence_axis', [1], [1])]);
  const total = sizeOf('attention_mask');
  const past = builder.op('Sub', [total, sizeOf('inputs_embeds')]);
  const mask = make(builder, adds[0]!.input[1]!, { past, total });
  for (const add of adds) add.input[1] = mask;
  graph.node = topologicalOrder(graph);
  return model;
}

describe('a window that shows only in a long text is found in', () => {
  const chunks = [LONGEST - 28, ...new Array<number>(28).fill(1)];

  it.each(Object.keys(MASKS))('%s', async (name) => {
    const { make, window } = MASKS[name]!;
    const { decoder, actual, expected } = await runBoth(await masked(make), { chunks });
    expect(decoder.layers.map((layer) => layer.window)).toEqual([window, window]);
    expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
  });
});

/** As transformers 4.38 makes it: a table of booleans, repeated, multiplied, written over as a whole, then cut. */
function largeTable(window: number, longest: number): MakeMask {
  return (builder, _, lengths) => {
    const hides = Uint8Array.from(table(window, longest), (number) => (number === 0 ? 0 : 1));
    const booleans = builder.raw('table', DataType.BOOL, [1, 1, longest, longest], hides);
    const rows = builder.op('Gather', [
      builder.op('Shape', ['inputs_embeds']),
      builder.int64('batch_axis', [1], [0]),
    ]);
    const ones = builder.int64('ones', [3], [1, 1, 1]);
    const repeats = builder.op('Concat', [rows, ones], { attributes: { axis: 0 } });
    const tiled = builder.op('Tile', [booleans, repeats]);
    const numbers = builder.op('Cast', [tiled], { attributes: { to: DataType.FLOAT } });
    const hidden = builder.float32('hidden', [], [-1e9]);
    const whole = builder.op('Mul', [numbers, hidden]);
    const left = columns(builder, whole, lengths.total);
    const attended = builder.op('Unsqueeze', ['attention_mask', builder.int64('two', [2], [1, 2])]);
    const padding = builder.op('Equal', [attended, builder.int64('padding', [], [0])]);
    const padded = builder.op('Where', [padding, hidden, left]);
    return cut(builder, assigned(builder, whole, padded, [rows, 1, longest, lengths.total]), lengths);
  };
}

/** Writes a block over the first elements of each axis, by a list of indices for each. */
function assigned(
  builder: GraphBuilder,
  whole: string,
  block: string,
  sizes: readonly (string | number)[],
): string {
  const ends = sizes.map((size) => (typeof size === 'number' ? builder.int64('size', [1], [size]) : size));
  const shape = builder.op('Concat', ends, { attributes: { axis: 0 } });
  const lists = ends.map((end, axis) => {
    const [from, to, by] = [number(builder, 0), builder.op('Squeeze', [end]), number(builder, 1)];
    const dims = [1, 1, 1, 1].with(axis, -1);
    const list = builder.op('Reshape', [
      builder.op('Range', [from, to, by]),
      builder.int64('dims', [4], dims),
    ]);
    return builder.op('Unsqueeze', [builder.op('Expand', [list, shape]), builder.int64('last', [1], [-1])]);
  });
  const indices = builder.op('Concat', lists, { attributes: { axis: -1 } });
  return builder.op('ScatterND', [whole, indices, builder.op('Expand', [block, shape])]);
}

describe('a table too large to be computed as a whole', () => {
  it.each([
    ['without a window', 2048, undefined],
    ['with a window', 1500, 1500],
  ])('is looked at where it is cut, %s', async (_, size, window) => {
    const model = await masked(largeTable(size, 2048));
    const { decoder, actual, expected } = await runBoth(model, { chunks: [13, 1, 1] });
    expect(decoder.layers.map((layer) => layer.window)).toEqual([window, window]);
    expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
    // Its bytes are read from the file as well.
    const skeleton = await readSkeleton(bytesSource(serializeModel(model)), 'model.onnx');
    expect(inspectDecoder(skeleton).refusal).toBeUndefined();
  });
});

it('a table with no length at which its mask ends is refused', async () => {
  const model = await masked((builder, _, { past, total }) => {
    // The first row and column are never taken, so that the longest text has one token less.
    const one = builder.int64('one', [1], [1]);
    const [from, to] = [past, total].map((each) => builder.op('Add', [each, one]));
    const axis = (value: number) => builder.int64('axis', [1], [value]);
    const rows = builder.op('Slice', [initializer(builder), from, to, axis(2)]);
    return builder.op('Slice', [rows, one, to, axis(3)]);
  });
  expect(inspectDecoder(model).refusal).toMatch(
    /mask cannot be understood \(with 127 tokens held and 1 new\)/,
  );
});

it('a table beside the model, which cannot be looked at, is refused', async () => {
  const model = await masked(MASKS['a table among the initializers']!.make);
  const skeleton = await readSkeleton(bytesSource(serializeModel(model)), 'model.onnx');
  expect(inspectDecoder(skeleton).refusal).toMatch(/mask cannot be understood .*"table" is not in the model/);
});
