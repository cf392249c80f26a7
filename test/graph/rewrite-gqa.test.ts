import { describe, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import { contractNames, type DecoderSignature, type PastFormat } from '../../src/graph/decoder.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { OriginalRun, openModel, RewrittenRun } from './decoder-runs.js';
import { largestDifference } from './exported-runs.js';
import { buildGqaDecoder, type GqaDecoderOptions, gaussian } from './gqa-decoder.js';

const HIDDEN = 64;

/** New tokens of each pass: a prompt at once, a prompt in chunks; then one token at a time. */
const PROMPTS = { 'a prompt': [13], 'a chunked prompt': [7, 20, 1, 6] };
const DECODED = 32;

const CASES: Record<string, Partial<GqaDecoderOptions>> = {
  'rope outside, grouped heads': {},
  'one key head for all': { kvHeads: 1 },
  'as many key heads as query heads': { kvHeads: 4 },
  'seven inputs, no rope': { rope: 'none', inputs: 7, positionIds: false },
  'packed, no rope': { rope: 'none', inputs: 7, positionIds: false, packed: true },
  'rope outside, interleaved': { interleaved: true },
  'rope outside, partial': { rotaryDim: 8 },
  'rope inside, positions counted': { rope: 'inside', positionIds: false },
  'rope inside, positions counted, eleven inputs': { rope: 'inside', positionIds: false, inputs: 11 },
  'rope inside, positions declared but not read': { rope: 'inside', inputs: 9 },
  'rope inside, positions read': { rope: 'inside', inputs: 12 },
  'rope inside, interleaved, packed': { rope: 'inside', positionIds: false, interleaved: true, packed: true },
  'rope inside, partial, ten inputs': { rope: 'inside', inputs: 10, headDim: 32, rotaryDim: 16 },
  'rope inside, partial, packed, interleaved': {
    rope: 'inside',
    headDim: 32,
    rotaryDim: 16,
    packed: true,
    interleaved: true,
    inputs: 12,
  },
  'norms per head, inside': { qkNorm: 'inside', rope: 'inside', positionIds: false },
  softcap: { softcap: 2, scale: 0.9 },
  'own scale, twelve inputs': { scale: 0.11, inputs: 12 },
  'windows in both layers': { windows: [5, 7] },
  'a window in one layer of two, softcap, one key head': { windows: [0, 5], softcap: 2, kvHeads: 1 },
  'a window, norms outside, rope inside': {
    windows: [5, 5],
    qkNorm: 'outside',
    rope: 'inside',
    positionIds: false,
  },
  'a causal attention bias': { bias: 'causal', inputs: 12, rope: 'inside' },
  'an attention bias with a window': { bias: 'window', inputs: 12 },
  'an attention bias with a window, and a shorter one': { bias: 'window', inputs: 12, windows: [4, 9] },
  'head sinks': { sink: true, inputs: 12 },
  'head sinks, softcap, a window, as many key heads as query heads': {
    sink: true,
    inputs: 12,
    softcap: 2,
    windows: [5],
    kvHeads: 4,
  },
  'smooth softmax': { extraAttributes: { smooth_softmax: 1 } },
  'int8 weights': { weights: 'int8' },
  'int8 weights, head size not declared, packed': {
    weights: 'int8',
    declareHeadDim: false,
    packed: true,
    rope: 'inside',
    positionIds: false,
  },
  'int4 weights, packed, rope inside': { weights: 'int4', packed: true, rope: 'inside', positionIds: false },
  'int4 weights, head size not declared': { weights: 'int4', declareHeadDim: false },
  'head size not declared, packed': {
    declareHeadDim: false,
    packed: true,
    rope: 'inside',
    positionIds: false,
  },
};

describe('a rewritten GroupQueryAttention decoder', () => {
  for (const [name, options] of Object.entries(CASES)) {
    for (const [prompt, chunks] of Object.entries(PROMPTS)) {
      it(`gives the original's logits and attention: ${name}, ${prompt}`, async () => {
        await compare(options, chunks, 1e-4);
      });
    }
  }

  for (const [float, weights] of [
    ['float16', 'float32'],
    ['float16', 'int4'],
    ['float16-inside', 'float32'],
  ] as const) {
    it(`gives float32 keys and values of a ${float} decoder${weights === 'int4' ? ' with int4 weights' : ''}`, async () => {
      await compare({ float, weights, sink: true, bias: 'window', inputs: 12 }, [9], 2e-2);
    });
  }

  it.each([
    ['float16', 2e-3],
    ['int8', 3e-2],
  ] as const)(
    'takes its past as %s, with no more difference than rounding explains',
    async (past, tolerance) => {
      for (const options of [
        {},
        { windows: [6, 0], sink: true, inputs: 12 },
        { kvHeads: 4, softcap: 2 },
      ] as const) {
        await compare(options, [9, 7], tolerance, { past });
      }
    },
  );

  it.each([
    ['grouped heads', {}],
    ['as many key heads as query heads, a window', { kvHeads: 4, windows: [6, 0] }],
    ['one key head, a sink, softcap', { kvHeads: 1, sink: true, inputs: 12, softcap: 2 }],
  ] as const)('gives the attention of the last queries alone: %s', async (_, options) => {
    for (const observed of [0, 3]) await compare(options, [20, 30, 2], 1e-4, { observed });
  });

  it.each([
    ['a bias for each key head', {}],
    ['a window, positions and biases for each key head', { windows: [40, 0] }],
    ['as many key heads as query heads', { kvHeads: 4 }],
  ] as const)(
    'takes %s: those of all heads alike change nothing, and each hides in its own head',
    async (_, options) => {
      const { model, decoder } = rewriteDecoder(buildGqaDecoder({ hidden: HIDDEN, ...options }));
      const session = await openModel(model);
      const { kvHeads } = decoder.layers[0]!;
      const [slots, tokens] = [5, 3];
      const shared = randomFeeds(decoder, slots, tokens, gaussian(11));
      const byHead = (change: (name: string, value: number, head: number, row: number) => number) =>
        tensors(
          shared.map((feed) => {
            if (!/^past_(bias|position)/.test(feed.name)) return feed;
            const data = Array.from({ length: kvHeads }, (_, head) =>
              feed.data.map((value, row) => change(feed.name, value, head, row)),
            ).flat();
            return { ...feed, dims: feed.dims.with(0, kvHeads), data };
          }),
          1,
        );
      const plain = await session.run(tensors(shared, 1));
      const alike = await session.run(byHead((_name, value) => value));
      for (const name of session.outputNames) {
        expect(
          largestDifference(alike[name]!.data as Float32Array, plain[name]!.data as Float32Array),
        ).toBeLessThan(1e-5);
      }
      // Row 1 of the first layer is hidden in the last head alone: by its place, where there is a window.
      const [where, hides] =
        'windows' in options ? ['past_position.0', -100] : ['past_bias.0', Number.NEGATIVE_INFINITY];
      const hidden = await session.run(
        byHead((name, value, head, row) =>
          name === where && head === kvHeads - 1 && row === 1 ? hides : value,
        ),
      );
      const received = (outputs: typeof plain, head: number) => {
        const all = outputs[contractNames.attention(0)]!.data as Float32Array;
        return all.slice(head * (slots + tokens), (head + 1) * (slots + tokens));
      };
      expect(received(hidden, kvHeads - 1)[1]).toBe(0);
      expect(received(plain, kvHeads - 1)[1]).toBeGreaterThan(0);
      expect(largestDifference(received(hidden, 0), received(plain, 0))).toBeLessThan(1e-6);
      await session.release();
    },
  );

  it('gives each sequence of a batch what it gives that one alone', async () => {
    const options = { hidden: HIDDEN, windows: [0, 6], sink: true, inputs: 12 } as const;
    const { model, decoder } = rewriteDecoder(buildGqaDecoder(options));
    const session = await openModel(model);
    const random = gaussian(11);
    const slots = 5;
    const tokens = 3;
    const rows = [0, 1].map(() => randomFeeds(decoder, slots, tokens, random));
    const alone = await Promise.all(rows.map((row) => session.run(tensors(row, 1))));
    const stacked = rows[0]!.map(({ type, name, dims }, i) => ({
      type,
      name,
      dims,
      data: rows.flatMap((row) => row[i]!.data),
    }));
    const together = await session.run(tensors(stacked, 2));
    for (const name of session.outputNames) {
      const expected = Float32Array.from(
        alone.flatMap((outputs) => [...(outputs[name]!.data as Float32Array)]),
      );
      expect(largestDifference(together[name]!.data as Float32Array, expected)).toBeLessThan(1e-5);
    }
  });
});

interface Feed {
  type: 'float32' | 'int32';
  name: string;
  /** Without the batch. */
  dims: number[];
  data: number[];
}

function randomFeeds(decoder: DecoderSignature, slots: number, tokens: number, random: () => number): Feed[] {
  const sized = (dims: number[], next: () => number) =>
    Array.from({ length: dims.reduce((product, dim) => product * dim, 1) }, next);
  const feed = (name: string, dims: number[]): Feed => ({
    type: 'float32',
    name,
    dims,
    data: sized(dims, random),
  });
  const places = (name: string, dims: number[], from: number): Feed => ({
    type: 'int32',
    name,
    dims,
    data: sized(dims, () => from + Math.floor(4 * Math.abs(random()))),
  });
  return [
    feed('inputs_embeds', [tokens, HIDDEN]),
    feed(contractNames.newBias, [1, tokens, tokens]),
    places(contractNames.newPosition, [tokens], 10),
    ...decoder.layers.flatMap(({ index, kvHeads, headDim, window }) => [
      ...(window === undefined ? [] : [places(contractNames.pastPosition(index), [1, slots + index], 4)]),
      feed(contractNames.pastKey(index), [kvHeads, slots + index, headDim]),
      feed(contractNames.pastValue(index), [kvHeads, slots + index, headDim]),
      feed(contractNames.pastBias(index), [1, 1, slots + index]),
    ]),
  ];
}

function tensors(feeds: readonly Feed[], batch: number): Record<string, Tensor> {
  const tokens = feeds[0]!.dims[0]!;
  const positions = BigInt64Array.from({ length: batch * tokens }, (_, i) => BigInt(20 + (i % tokens)));
  return {
    [contractNames.positionIds]: new Tensor('int64', positions, [batch, tokens]),
    [contractNames.attentionQueries]: new Tensor('int64', [BigInt(tokens)], [1]),
    [contractNames.peakQueries]: new Tensor('int64', [BigInt(tokens)], [1]),
    ...Object.fromEntries(
      feeds.map(({ type, name, dims, data }) => [name, new Tensor(type, data, [batch, ...dims])]),
    ),
  };
}

async function compare(
  options: Partial<GqaDecoderOptions>,
  chunks: readonly number[],
  tolerance: number,
  { past, observed = Number.POSITIVE_INFINITY }: { past?: PastFormat; observed?: number } = {},
) {
  const half = options.float === 'float16';
  const { model, decoder } = rewriteDecoder(buildGqaDecoder({ hidden: HIDDEN, ...options }), { past });
  // ONNX Runtime's CPU kernel has no norms inside, so the original is run with the same norms before it.
  const qkNorm = options.qkNorm === 'inside' ? 'outside' : options.qkNorm;
  const runnable = { hidden: HIDDEN, ...options, ...(qkNorm && { qkNorm }), probabilities: true };
  const original = await openModel(buildGqaDecoder(runnable));
  const rewritten = await openModel(model);
  const expected = new OriginalRun(original, decoder, HIDDEN, half);
  const actual = new RewrittenRun(rewritten, decoder, HIDDEN, half);
  const random = gaussian(7);
  for (const tokens of [...chunks, ...new Array<number>(DECODED).fill(1)]) {
    const embeds = Float32Array.from({ length: tokens * HIDDEN }, random);
    const want = await expected.step(embeds, Math.min(observed, tokens));
    const got = await actual.step(embeds, Math.min(observed, tokens));
    expect(largestDifference(got.logits, want.logits)).toBeLessThan(tolerance);
    for (const name of ['attention', 'peak'] as const) {
      expect(got[name].length).toBe(want[name].length);
      got[name].forEach((received, i) => {
        expect(largestDifference(received, want[name][i]!)).toBeLessThan(tolerance);
      });
    }
  }
  await original.release();
  await rewritten.release();
}
