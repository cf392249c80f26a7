import { describe, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import { contractNames, type PastFormat } from '../../src/graph/decoder.js';
import type { Model } from '../../src/graph/onnx/onnx.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import type { KVCache } from '../../src/memory/kv-cache.js';
import type { KVCacheOptions } from '../../src/memory/shape.js';
import { elastic } from '../../src/policies/elastic.js';
import { full } from '../../src/policies/full.js';
import { local } from '../../src/policies/local.js';
import { buildAttentionDecoder } from './attention-decoder.js';
import { CachedRun, OriginalRun, openModel } from './decoder-runs.js';
import { fixture, largestDifference } from './exported-runs.js';
import { buildGqaDecoder, type GqaDecoderOptions, gaussian } from './gqa-decoder.js';
import { DEFAULTS } from './gqa-options.js';
import { COMPARISONS, longRope } from './longrope.js';
import { buildMultiHeadDecoder } from './multi-head-decoder.js';

const HIDDEN = 64;
/** Tokens of the prompt, those run in one pass, and those decoded one at a time after it. */
const PROMPT = 50;
const CHUNK = 16;
const DECODED = 32;

const WINDOW: Partial<GqaDecoderOptions> = { windows: [9, 9] };

interface Case {
  model: Model;
  tolerance?: number;
  half?: boolean;
  /** How keys and values are held; as the original does without it. */
  past?: PastFormat;
  /** int8 is quantised anew for each pass, so that only the same passes give the same numbers. */
  samePasses?: boolean;
}

const CASES: Record<string, Case> = {
  'grouped heads': { model: gqa({}) },
  'rope inside, packed': { model: gqa({ rope: 'inside', positionIds: false, packed: true }) },
  'a window in one layer of two, softcap': { model: gqa({ windows: [9], softcap: 2 }) },
  'a window, as many key heads as query heads': { model: gqa({ ...WINDOW, kvHeads: 4 }) },
  'a head sink': { model: gqa({ sink: true, inputs: 12 }) },
  float16: { model: gqa({ float: 'float16' }), half: true, tolerance: 2e-2 },
  'float16, int4 weights': { model: gqa({ float: 'float16', weights: 'int4' }), half: true, tolerance: 2e-2 },
  'int4 weights': { model: gqa({ weights: 'int4' }) },
  'int8 weights': { model: gqa({ weights: 'int8' }), samePasses: true },
  MultiHeadAttention: { model: buildMultiHeadDecoder() },
  Attention: { model: buildAttentionDecoder() },
  // The prompt is longer than the 32 tokens that tables for short texts serve, its chunks are not.
  'LongRoPE, tables under If': { model: await fixture('genai-longrope') },
};
for (const way of COMPARISONS) {
  CASES[`LongRoPE, positions moved: ${way}`] = { model: await longRope(way), half: true, tolerance: 2e-2 };
}

describe("a rewritten decoder over the library's cache", () => {
  for (const [name, { tolerance = 1e-4, ...model }] of Object.entries(CASES)) {
    it(`gives the original's logits when it keeps everything: ${name}`, async () => {
      const { expected, actual } = await run(model, { policy: full(), budget: 1 });
      expect(largestDifference(actual, expected)).toBeLessThan(tolerance);
    });

    it(`holds exactly the budget after the prompt and after every token: ${name}`, async () => {
      const { held, actual } = await run(model, { policy: elastic(), budget: 0.2 });
      const seen = Array.from({ length: DECODED + 1 }, (_, i) => PROMPT + i);
      expect(held).toEqual(seen.map((tokens) => [0.2, 0.2].map((budget) => Math.floor(budget * tokens))));
      expect(actual.every(Number.isFinite)).toBe(true);
    });
  }

  it.each([
    ['float16', 5e-3],
    ['int8', 5e-2],
  ] as const)(
    "holds %s: the original's logits but for rounding, and no more than the budget",
    async (past, tolerance) => {
      const whole = await run({ ...CASES['grouped heads']!, past }, { policy: full(), budget: 1 });
      expect(largestDifference(whole.actual, whole.expected)).toBeLessThan(tolerance);
      expect(largestDifference(whole.actual, whole.expected)).toBeGreaterThan(0);
      const cut = { policy: elastic({ merging: 'none' }), budget: 0.2 };
      const [rounded, exact] = [
        await run({ ...CASES['grouped heads']!, past }, cut),
        await run(CASES['grouped heads']!, cut),
      ];
      expect(rounded.held).toEqual(exact.held);
      expect(rounded.actual.every(Number.isFinite)).toBe(true);
    },
  );

  it('turns keys in half precision', async () => {
    const cut = { policy: elastic({ mergedKeys: 'turned' }), budget: 0.2 };
    const { held } = await run(CASES.float16!, cut);
    expect(held.at(-1)).toEqual([16, 16]);
  });

  it('turns no keys that it rotates by the length of the text', async () => {
    const model = await fixture('genai-longrope');
    const turned = run({ model }, { policy: elastic({ mergedKeys: 'turned' }), budget: 0.5 });
    await expect(turned).rejects.toThrow(/use mergedKeys "stored"/);
  });

  it('needs no entry that its window hides', async () => {
    const cut = { policy: local({ startSize: 0 }), budget: { tokens: 9 } };
    const { expected, actual, held } = await run({ model: gqa(WINDOW) }, cut);
    expect(held.at(-1)).toEqual([9, 9]);
    expect(largestDifference(actual, expected)).toBeLessThan(1e-4);
  });

  it('hides merged anchors and evicted neighbours by where they stand', async () => {
    const windowed = rewriteDecoder(gqa(WINDOW));
    const open = rewriteDecoder(gqa({}));
    const sessions = { windowed: await openModel(windowed.model), open: await openModel(open.model) };
    const cut = { policy: elastic(), budget: 0.4 };
    const ours = new CachedRun(sessions.windowed, windowed.decoder, cut, HIDDEN, CHUNK);
    const random = gaussian(3);
    const embeds = (tokens: number) => Float32Array.from({ length: tokens * HIDDEN }, random);
    await ours.step(embeds(PROMPT));
    for (let i = 0; i < DECODED; i++) {
      const token = embeds(1);
      const expected = await sessions.open.run(feedsWithin(9, ours.cache, token), ['logits']);
      const actual = await ours.step(token);
      expect(largestDifference(actual, expected.logits!.data as Float32Array)).toBeLessThan(1e-5);
    }
  });
});

/** One token for a decoder that sees everything it is given: what the cache holds, hidden by hand outside a window. */
function feedsWithin(window: number, cache: KVCache, embeds: Float32Array): Record<string, Tensor> {
  const { kvHeads, headDim } = DEFAULTS;
  const feeds: Record<string, Tensor> = {
    inputs_embeds: new Tensor('float32', embeds, [1, 1, HIDDEN]),
    [contractNames.positionIds]: new Tensor('int64', [BigInt(cache.seen)], [1, 1]),
    [contractNames.newBias]: new Tensor('float32', [0], [1, 1, 1, 1]),
    [contractNames.attentionQueries]: new Tensor('int64', [0n], [1]),
    [contractNames.peakQueries]: new Tensor('int64', [0n], [1]),
  };
  for (let layer = 0; layer < DEFAULTS.layers; layer++) {
    const { keys, values, positions } = cache.entries(layer);
    const held = positions.length;
    const byHead = (rows: Float32Array) =>
      new Tensor(
        'float32',
        rows.map((_, i) => {
          const head = Math.floor(i / (held * headDim));
          const entry = Math.floor(i / headDim) % held;
          return rows[(entry * kvHeads + head) * headDim + (i % headDim)]!;
        }),
        [1, kvHeads, held, headDim],
      );
    const bias = Float32Array.from(positions, (at) =>
      cache.seen - at < window ? 0 : Number.NEGATIVE_INFINITY,
    );
    feeds[contractNames.pastKey(layer)] = byHead(keys);
    feeds[contractNames.pastValue(layer)] = byHead(values);
    feeds[contractNames.pastBias(layer)] = new Tensor('float32', bias, [1, 1, 1, held]);
  }
  return feeds;
}

function gqa(options: Partial<GqaDecoderOptions>): Model {
  return buildGqaDecoder({ hidden: HIDDEN, ...options });
}

/** Runs a prompt and then single tokens in the original and in ours, whose prompt is in chunks; `held` per step and layer. */
async function run(
  { model, half = false, samePasses = false, past }: Case,
  options: Pick<KVCacheOptions, 'policy' | 'budget'>,
) {
  const rewritten = rewriteDecoder(model, { past });
  const original = await openModel(model);
  const session = await openModel(rewritten.model);
  const stock = new OriginalRun(original, rewritten.decoder, HIDDEN, half);
  const ours = new CachedRun(session, rewritten.decoder, options, HIDDEN, CHUNK, half);
  const random = gaussian(3);
  const expected: Float32Array[] = [];
  const actual: Float32Array[] = [];
  const held: number[][] = [];
  for (const tokens of [PROMPT, ...new Array<number>(DECODED).fill(1)]) {
    const embeds = Float32Array.from({ length: tokens * HIDDEN }, random);
    const [first] = ours.cache.parts(tokens, CHUNK);
    const pass = (samePasses ? first!.tokens : tokens) * HIDDEN;
    for (let start = 0; start < embeds.length; start += pass)
      expected.push((await stock.step(embeds.slice(start, start + pass))).logits);
    actual.push(await ours.step(embeds));
    held.push(rewritten.decoder.layers.map(({ index }) => ours.cache.held(index)));
  }
  await original.release();
  await session.release();
  return { expected: joined(expected), actual: joined(actual), held };
}

function joined(parts: readonly Float32Array[]): Float32Array {
  return Float32Array.from(parts.flatMap((part) => [...part]));
}
