import { describe, expect, it } from 'vitest';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { fixture, largestDifference, type Passes, runBoth } from './exported-runs.js';

const DECODED = new Array<number>(16).fill(1);
const PROMPT = [13, ...DECODED];
const CHUNKED = [7, 5, 1, 6, ...DECODED];

/** What is known of a fixture beside its name. */
interface Case {
  pattern: string;
  /** Exports whose mask is right only for a prompt at once or for one token: their chunks are compared with one pass. */
  wholePrompt?: boolean;
  half?: boolean;
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
};

const REFUSED: Record<string, string[]> = {
  'torch-window': ['"/model/model/layers.0/self_attn/Softmax"', 'hides earlier tokens', 'sliding window'],
};

describe('decoders from real exporters', () => {
  for (const [name, { pattern, wholePrompt, half, counts = false }] of Object.entries(CASES)) {
    const tolerance = half ? 2e-2 : 1e-4;

    it(`${name}: a prompt and 16 tokens give the original's logits and attention`, async () => {
      await compare(name, { chunks: PROMPT, half }, { pattern, tolerance, counts });
    });

    it(`${name}: a chunked prompt and 16 tokens likewise`, async () => {
      const originalChunks = wholePrompt ? [19, ...DECODED] : CHUNKED;
      await compare(name, { chunks: CHUNKED, originalChunks, half }, { pattern, tolerance, counts });
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
  { pattern, tolerance, counts }: { pattern: string; tolerance: number; counts: boolean },
) {
  const { expected, actual, decoder, report } = await runBoth(await fixture(name), passes);
  expect(report.layers.map((layer) => layer.pattern)).toEqual([pattern, pattern]);
  expect(decoder.otherInputs).toEqual(counts ? ['attention_mask'] : []);
  expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(tolerance);
  if (pattern !== 'MatMul, Softmax, MatMul') return;
  actual.steps.forEach(({ attention }, step) => {
    const oracle = expected.steps[step]!.attention;
    expect(oracle.length).toBe(attention.length);
    attention.forEach((received, layer) => {
      expect(largestDifference(received, oracle[layer]!)).toBeLessThan(tolerance);
    });
  });
}
