import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { graphOf, type Model } from '../../src/graph/onnx/onnx.js';
import { GraphIndex } from '../../src/graph/onnx/queries.js';
import { int64Tensor } from '../../src/graph/onnx/tensors.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { answer, ElasticCache, type LoadedModel, loadElastic, prepareInputs } from '../../src/index.js';
import { full } from '../../src/policies/full.js';
import { local } from '../../src/policies/local.js';
import { FAMILIES, writeTinyFamily } from '../families/tiny-families.js';
import { CachedRun, OriginalRun, openModel } from './decoder-runs.js';
import { BothDecoders, fixture, largestDifference, runBoth } from './exported-runs.js';

const HIDDEN = 64;
const embeds = (tokens: number) => new Float32Array(tokens * HIDDEN).fill(0.1);

/** Decoders whose mask is no wider than this, whatever the length of their keys. */
const WIDTHS: Record<string, { longest: number; tolerance?: number }> = {
  'torch-softcap-window': { longest: 24 },
  'cut-gemma2-sdpa': { longest: 24 },
  'cut-gemma3-eager': { longest: 24 },
  'heads-16x256-cut-mask': { longest: 4096, tolerance: 2e-2 },
};

for (const [name, { longest, tolerance = 1e-4 }] of Object.entries(WIDTHS)) {
  describe(`${name}, whose mask is ${longest} tokens wide`, () => {
    let both: BothDecoders;
    beforeAll(async () => {
      both = await BothDecoders.open(await fixture(name));
    });
    afterAll(() => both.release());

    it('is recognised as one that sees everything, in texts up to there', () => {
      expect(both.decoder.longestText).toBe(longest);
      expect(both.decoder.layers.map(({ window }) => window)).toEqual([undefined, undefined]);
    });

    it.each([
      ['a prompt and single tokens', [13, ...new Array<number>(11).fill(1)]],
      ['parts and single tokens', [7, 5, 1, 6, 1, 1, 1, 1, 1]],
      ['all at once', [24]],
    ])("gives the original's logits for %s", async (_, chunks) => {
      const { expected, actual } = await both.run({ chunks });
      expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(tolerance);
    });
  });
}

describe('beyond its mask', () => {
  it('the original fails', async () => {
    const session = await openModel(await fixture('torch-softcap-window'));
    const { decoder } = rewriteDecoder(await fixture('torch-softcap-window'));
    const run = new OriginalRun(session, decoder, HIDDEN);
    const { logits } = await run.step(embeds(24));
    expect(logits.every(Number.isFinite)).toBe(true);
    await expect(run.step(embeds(1))).rejects.toThrow('24 by 25');
    await session.release();
  });

  const FULL = {
    code: 'context-full',
    message: expect.stringMatching(
      /^The text has 2[5-9] tokens, and this model's decoder .* 24 at most; .*\.$/,
    ),
  };

  it.each([
    ['everything', { policy: full(), budget: 1 }],
    ['little', { policy: local(), budget: 0.2 }],
  ])('a cache of %s is refused another token, and stays as it was', async (_, options) => {
    const { model, decoder } = rewriteDecoder(await fixture('torch-softcap-window'));
    const session = await openModel(model);
    const run = new CachedRun(session, decoder, options, HIDDEN, 8);
    await run.step(embeds(20));
    await expect(run.step(embeds(5))).rejects.toMatchObject(FULL);
    expect(run.cache.seen).toBe(20);
    for (let token = 0; token < 4; token++) await run.step(embeds(1));
    const held = run.cache.held(0);
    await expect(run.step(embeds(1))).rejects.toMatchObject(FULL);
    expect([run.cache.seen, run.cache.held(0)]).toEqual([24, held]);
    await session.release();
  });
});

describe('a model with such a decoder', () => {
  let directory: string;
  let loaded: LoadedModel;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'elastic-cache-cut-'));
    const decoder = 'graph/fixtures/torch-softcap-window.onnx';
    await writeTinyFamily(directory, { ...FAMILIES['PaliGemma 2']!, decoder });
    loaded = await loadElastic(directory, { threads: 1 });
  });
  afterAll(async () => {
    await loaded.model.dispose();
    await rm(directory, { recursive: true });
  });

  it('says what fits, and ends there', async () => {
    const inputs = await prepareInputs(loaded, { prompt: 'You are a helpful assistant' });
    const output = await loaded.model.generate({ ...inputs, max_new_tokens: 50, eos_token_id: -1 });
    // The last token is told and never read.
    expect((output as Tensor).dims).toEqual([1, 25]);
  });

  it('refuses a longer prompt', async () => {
    const asked = answer(loaded, { prompt: 'You are '.repeat(15) }, { cache: new ElasticCache() });
    await expect(asked).rejects.toMatchObject({
      code: 'context-full',
      message: expect.stringMatching(/^The text has \d+ tokens and this model takes 24 at most/),
    });
  });
});

/** That decoder with its mask cut elsewhere: at its last axis, from `start` to `end`. */
async function cutFrom(start: number, end: number): Promise<Model> {
  const model = await fixture('cut-gemma3-eager');
  const graph = graphOf(model);
  const index = new GraphIndex(graph);
  const cut = graph.node.find(
    ({ opType, input }) => opType === 'Slice' && index.constantNumbers(input[2] ?? '')?.join() === '24',
  )!;
  graph.initializer.push(int64Tensor('cut_start', [1], [start]), int64Tensor('cut_end', [1], [end]));
  cut.input[1] = 'cut_start';
  cut.input[2] = 'cut_end';
  return model;
}

describe('masks cut otherwise', () => {
  it('to the last tokens are as wide', async () => {
    const { decoder } = rewriteDecoder(await cutFrom(-24, Number.MAX_SAFE_INTEGER));
    expect(decoder.longestText).toBe(24);
  });

  it('by a table that they are read from end where it ends', async () => {
    const model = await fixture('torch-eager');
    const index = new GraphIndex(graphOf(model));
    const builder = new GraphBuilder(model);
    const softmax = graphOf(model).node.find(({ opType }) => opType === 'Softmax')!;
    const scores = index.producer(softmax.input[0]!)!;
    const counted = builder.op('CumSum', ['attention_mask', builder.int64('keys_axis', [], [1])]);
    const places = builder.op('Unsqueeze', [counted, builder.int64('heads_axes', [2], [1, 2])]);
    const table = builder.float32('table', [10], new Float32Array(10));
    scores.input[1] = builder.op('Add', [scores.input[1], builder.op('Gather', [table, places])]);
    const { expected, actual, decoder } = await runBoth(model, { chunks: [4, 3, 1, 1] });
    expect(decoder.longestText).toBe(9);
    expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
  });

  it('to fewer tokens than are tried are refused by name', async () => {
    const model = await cutFrom(0, 6);
    expect(() => rewriteDecoder(model)).toThrow(
      /^Node "[^"]*layers\.0[^"]*" .*its mask cannot be understood/,
    );
  });
});
