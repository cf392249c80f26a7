import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { BothDecoders, fixture, largestDifference, type Passes } from './exported-runs.js';

const DECODED = new Array<number>(32).fill(1);
const BUDGET = 0.2;
const DECOMPOSED = 'MatMul, Softmax, MatMul';
const HALF = 2e-2;

/** What is known of a fixture beside its name. */
interface Case {
  /** The operator that attends, none when it is taken apart into ONNX's own. */
  pattern?: string;
  /** The largest difference of logits and attention, 1e-4 when absent. */
  tolerance?: number;
  /** Exports whose mask is right only for a prompt at once or for one token: their chunks are compared with one pass. */
  wholePrompt?: boolean;
  half?: boolean;
  /** Whether its weights of attention are no values of the graph: under an If, or of softmaxes that are written out. */
  withoutWeights?: boolean;
  /** How many tokens each layer sees, or layer by layer; all when absent. */
  window?: number | (number | undefined)[];
  /** Whether it still needs the attention mask, to count tokens that came before. */
  counts?: boolean;
}

const CASES: Record<string, Case> = {
  'genai-grouped': { pattern: 'GroupQueryAttention' },
  'genai-grouped-0.18': { pattern: 'GroupQueryAttention' },
  'genai-int4-0.7': { pattern: 'GroupQueryAttention' },
  'genai-int4-0.18': { pattern: 'GroupQueryAttention' },
  'genai-split-0.15': { pattern: 'GroupQueryAttention' },
  'genai-split-int4-0.18': { pattern: 'GroupQueryAttention' },
  'genai-split-windows-0.15': {
    pattern: 'GroupQueryAttention',
    window: [24, 24, 24, 24, 24, undefined],
  },
  'genai-windows': { pattern: 'GroupQueryAttention', window: [24, 24, 24, 24, 24, undefined] },
  'genai-longrope': { pattern: 'GroupQueryAttention' },
  'genai-longrope-dml': { pattern: 'GroupQueryAttention', half: true, tolerance: HALF },
  'genai-multi-head': { pattern: 'MultiHeadAttention', wholePrompt: true },
  'genai-multi-head-repeated': { pattern: 'MultiHeadAttention', wholePrompt: true },
  'torch-eager': {},
  'torch-eager-grouped': {},
  'torch-eager-slim': {},
  'torch-eager-half': { half: true, tolerance: HALF },
  'torch-sdpa': {},
  'torch-sdpa-grouped': {},
  'torch-sdpa-slim': {},
  'torch-softcap': {},
  'torch-no-positions': { counts: true },
  'torch-longrope': {},
  'torch-window': { window: 24 },
  'torch-partial': {},
  'torch-mrope-slim': { window: 4096 },
  'heads-9x64-half': { half: true, tolerance: HALF },
  'heads-9x64-q4f16': { tolerance: HALF },
  'heads-14x64-fp16': { tolerance: HALF },
  'heads-14x64-q4f16': { tolerance: HALF },
  'heads-12x128-mrope': { window: 32768 },
  'heads-12x128-mrope-q4f16': { tolerance: HALF, window: 32768 },
  'heads-16x256': { window: 4096 },
  'heads-16x256-q4f16': { tolerance: HALF, window: 4096 },
  'families-opt': {},
  'families-gpt2': {},
  'families-gpt2-sdpa': {},
  'families-neox': {},
  'families-codegen': {},
  'families-falcon': {},
  'optimised-opt': {},
  'optimised-opt-half': { half: true, tolerance: HALF, withoutWeights: true },
  'optimised-softcap': {},
  'optimised-9x64-q4f16': { tolerance: HALF, withoutWeights: true },
  'quantised-int8': {},
  'quantised-int4': {},
  'quantised-half': { tolerance: HALF },
  'quantised-half-softmax': { tolerance: HALF, window: [24, undefined], counts: true },
  'quantised-int4-half': { tolerance: HALF },
  'quantised-int8-merged': { withoutWeights: true },
  'dynamo-eager': {},
  'dynamo-sdpa': {},
  'dynamo-unoptimised': {},
  'dynamo-attention': { pattern: 'Attention' },
  'dynamo-half': { half: true, tolerance: HALF },
  'dynamo-gemma3-eager': { window: [24, undefined] },
  'dynamo-gemma3-sdpa': { window: [24, undefined] },
  'dynamo-gemma3-attention': { pattern: 'Attention', window: [24, undefined] },
  'optimum-onnx-gemma3-eager': { window: [24, undefined], counts: true },
  'optimum-onnx-gemma3-sdpa': { window: [24, undefined], counts: true },
  'optimum-onnx-gemma2': { window: [24, undefined], counts: true },
  'optimum-merged': { withoutWeights: true },
  'optimum-merged-grouped': { withoutWeights: true },
  'optimum-merged-no-positions': { withoutWeights: true, counts: true },
};

const REFUSED: Record<string, string[]> = {
  'optimum-merged-2023': ['"optimum::if" (If)', '"Softmax_235"', 'see those after them'],
};

for (const [name, expected] of Object.entries(CASES)) {
  describe(`${name} gives what plain ONNX Runtime gives`, () => {
    let both: BothDecoders;
    beforeAll(async () => {
      both = await BothDecoders.open(await fixture(name), expected.half);
    });
    afterAll(() => both.release());

    it('is recognised', () => {
      const { layers } = both.report;
      expect(layers.map(({ pattern }) => pattern)).toEqual(layers.map(() => expected.pattern ?? DECOMPOSED));
      expect(both.decoder.layers.map(({ window }) => window)).toEqual(
        layers.map((_, i) => (Array.isArray(expected.window) ? expected.window[i] : expected.window)),
      );
      expect(new Set(both.decoder.otherInputs)).toEqual(
        new Set(['num_logits_to_keep', ...(expected.counts ? ['attention_mask'] : [])]),
      );
    });

    it('for a prompt and 32 tokens', async () => {
      await compare(both, { chunks: [13, ...DECODED] }, expected);
    });

    it('for a chunked prompt and 32 tokens', async () => {
      const prompt = [7, 5, 1, 6];
      const originalChunks = [...(expected.wholePrompt ? [19] : prompt), ...DECODED];
      await compare(both, { chunks: [...prompt, ...DECODED], originalChunks }, expected);
    });

    it(`keeps a budget of ${BUDGET} to the entry`, async () => {
      const held = await both.held({ prompt: 30, decoded: DECODED.length, budget: BUDGET });
      held.forEach((layers, i) => {
        for (const entries of layers) expect(entries).toBe(Math.floor(BUDGET * (30 + i)));
      });
    });
  });
}

describe('decoders that cannot be rewritten', () => {
  for (const [name, says] of Object.entries(REFUSED)) {
    it(`${name} is refused by name`, async () => {
      const { refusal } = inspectDecoder(await fixture(name));
      for (const words of says) expect(refusal).toContain(words);
    });
  }
});

async function compare(
  both: BothDecoders,
  passes: Passes,
  { pattern, tolerance = 1e-4, withoutWeights }: Case,
) {
  const { expected, actual } = await both.run(passes);
  expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(tolerance);
  if (pattern || withoutWeights) return;
  actual.steps.forEach((got, step) => {
    const want = expected.steps[step]!;
    for (const name of ['attention', 'peak'] as const) {
      expect(got[name].length).toBe(want[name].length);
      got[name].forEach((received, layer) => {
        expect(largestDifference(received, want[name][layer]!)).toBeLessThan(tolerance);
      });
    }
  });
}
