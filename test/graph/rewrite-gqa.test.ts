import { describe, expect, it } from 'vitest';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { OriginalRun, openModel, RewrittenRun } from './decoder-runs.js';
import { buildGqaDecoder, type GqaDecoderOptions, gaussian } from './gqa-decoder.js';

const HIDDEN = 64;

/** New tokens of each pass: a prompt at once, a prompt in chunks; then one token at a time. */
const PROMPTS = { 'a prompt': [13], 'a chunked prompt': [7, 5, 1, 6] };
const DECODED = 16;

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
  softcap: { softcap: 2, scale: 0.9 },
  'own scale, twelve inputs': { scale: 0.11, inputs: 12 },
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

  for (const float of ['float16', 'float16-inside'] as const) {
    it(`keeps float32 keys and values of a ${float} decoder`, async () => {
      await compare({ float }, [9], 2e-2);
    });
  }
});

async function compare(options: Partial<GqaDecoderOptions>, chunks: readonly number[], tolerance: number) {
  const half = options.float === 'float16';
  const { model, decoder } = rewriteDecoder(buildGqaDecoder({ hidden: HIDDEN, ...options }));
  const original = await openModel(buildGqaDecoder({ hidden: HIDDEN, ...options, probabilities: true }));
  const rewritten = await openModel(model);
  const expected = new OriginalRun(original, decoder, HIDDEN, half);
  const actual = new RewrittenRun(rewritten, decoder, HIDDEN, half);
  const random = gaussian(7);
  for (const tokens of [...chunks, ...new Array<number>(DECODED).fill(1)]) {
    const embeds = Float32Array.from({ length: tokens * HIDDEN }, random);
    const want = await expected.step(embeds);
    const got = await actual.step(embeds);
    expect(largestDifference(got.logits, want.logits)).toBeLessThan(tolerance);
    expect(got.attention.length).toBe(want.attention.length);
    got.attention.forEach((received, i) => {
      expect(largestDifference(received, want.attention[i]!)).toBeLessThan(tolerance);
    });
  }
  await original.release();
  await rewritten.release();
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((largest, value, i) => {
    const difference = Math.abs(value - b[i]!);
    return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(largest, difference);
  }, 0);
}
