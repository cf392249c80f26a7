import { describe, expect, it } from 'vitest';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { fixture, heldEntries, largestDifference, type Passes, runBoth } from './exported-runs.js';

const DECODED = new Array<number>(32).fill(1);
const BUDGET = 0.2;
const PROMPT = [13, ...DECODED];
const CHUNKED = [7, 5, 1, 6, ...DECODED];

/** What is known of a fixture beside its name. */
interface Case {
  pattern: string;
  /** Exports whose mask is right only for a prompt at once or for one token: their chunks are compared with one pass. */
  wholePrompt?: boolean;
  half?: boolean;
  /** Whether there are two decoders under an If, whose weights of attention are no values of the graph. */
  merged?: boolean;
  /** Whether it still needs the attention mask, to count tokens that came before. */
  counts?: boolean;
}

const CASES: Record<string, Case> = {
  'genai-grouped': { pattern: 'GroupQueryAttention' },
  'genai-multi-head': { pattern: 'MultiHeadAttention', wholePrompt: true },
  'genai-multi-head-repeated': { pattern: 'MultiHeadAttention', wholePrompt: true },
  'torch-eager': { pattern: 'MatMul, Softmax, MatMul' },
  'torch-eager-grouped': { pattern: 'MatMul, Softmax, MatMul' },
  'torch-eager-slim': { pattern: 'MatMul, Softmax, MatMul' },
  'torch-eager-half': { pattern: 'MatMul, Softmax, MatMul', half: true },
  'torch-sdpa': { pattern: 'MatMul, Softmax, MatMul' },
  'torch-sdpa-grouped': { pattern: 'MatMul, Softmax, MatMul' },
  'torch-sdpa-slim': { pattern: 'MatMul, Softmax, MatMul' },
  'torch-softcap': { pattern: 'MatMul, Softmax, MatMul' },
  'torch-no-positions': { pattern: 'MatMul, Softmax, MatMul', counts: true },
  'dynamo-eager': { pattern: 'MatMul, Softmax, MatMul' },
  'dynamo-sdpa': { pattern: 'MatMul, Softmax, MatMul' },
  'dynamo-attention': { pattern: 'Attention' },
  'optimum-merged': { pattern: 'MatMul, Softmax, MatMul', merged: true },
  'optimum-merged-grouped': { pattern: 'MatMul, Softmax, MatMul', merged: true },
  'optimum-merged-no-positions': { pattern: 'MatMul, Softmax, MatMul', merged: true, counts: true },
};

const REFUSED: Record<string, string[]> = {
  'optimum-merged-2023': ['"optimum::if" (If)', '"Softmax_235"', 'see those after them'],
  'torch-window': ['"/model/model/layers.0/self_attn/Softmax"', 'hides earlier tokens', 'sliding window'],
};

describe('decoders from real exporters', () => {
  for (const [name, { pattern, wholePrompt, half, counts = false, merged }] of Object.entries(CASES)) {
    const tolerance = half ? 2e-2 : 1e-4;
    const weights = pattern === 'MatMul, Softmax, MatMul' && !merged;
    const expected = { pattern, tolerance, counts, weights };

    it(`${name}: a prompt and 32 tokens give the original's logits and attention`, async () => {
      await compare(name, { chunks: PROMPT, half }, expected);
    });

    it(`${name}: a chunked prompt and 32 tokens likewise`, async () => {
      const originalChunks = wholePrompt ? [19, ...DECODED] : CHUNKED;
      await compare(name, { chunks: CHUNKED, originalChunks, half }, expected);
    });

    it(`${name}: a budget of ${BUDGET} is kept to the entry`, async () => {
      const held = await heldEntries(await fixture(name), { prompt: 30, decoded: 32, budget: BUDGET, half });
      held.forEach((layers, i) => {
        for (const entries of layers) expect(entries).toBe(Math.floor(BUDGET * (30 + i)));
      });
    });
  }

  for (const [name, says] of Object.entries(REFUSED)) {
    it(`${name} is refused by name`, async () => {
      const { refusal } = inspectDecoder(await fixture(name));
      for (const words of says) expect(refusal).toContain(words);
    });
  }
});

async function compare(
  name: string,
  passes: Passes,
  expectations: { pattern: string; tolerance: number; counts: boolean; weights: boolean },
) {
  const { pattern, tolerance, counts, weights } = expectations;
  const { expected, actual, decoder, report } = await runBoth(await fixture(name), passes);
  expect(new Set(report.layers.map((layer) => layer.pattern))).toEqual(new Set([pattern]));
  expect(decoder.otherInputs).toEqual(counts ? ['attention_mask'] : []);
  expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(tolerance);
  if (!weights) return;
  actual.steps.forEach(({ attention }, step) => {
    const oracle = expected.steps[step]!.attention;
    expect(oracle.length).toBe(attention.length);
    attention.forEach((received, layer) => {
      expect(largestDifference(received, oracle[layer]!)).toBeLessThan(tolerance);
    });
  });
}
