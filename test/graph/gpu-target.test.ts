import { describe, expect, it } from 'vitest';
import { graphOf, type Node } from '../../src/graph/onnx/onnx.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { BothDecoders, fixture, largestDifference } from './exported-runs.js';

/** One of each kind of attention: shared key heads, windows, softcaps, tables of two lengths, half precision, rows that are made head by head and token by token. */
const FIXTURES = {
  'genai-split-windows-0.15': {},
  'genai-grouped': { packs: true },
  'genai-longrope': { packs: true },
  'torch-softcap-window': { apart: true },
  'torch-eager-grouped': { packs: true },
  'dynamo-gemma3-attention': { packs: true },
  'dynamo-half': { half: true, packs: true },
  'families-gpt2': { packs: true },
  // All of its layers have a window.
  'heads-16x256': { packs: true },
} as const satisfies Record<string, { apart?: boolean; half?: boolean; packs?: boolean }>;

/** What WebGPU has no kernel for, or none that is right everywhere. */
const NOT_THERE = ['FusedMatMul', 'MultiHeadAttention', 'Attention'];

function operators(nodes: readonly Node[]): string[] {
  return nodes.flatMap(({ opType, attribute }) => [
    opType,
    ...attribute.flatMap(({ g }) => (g ? operators(g.node) : [])),
  ]);
}

describe.each(Object.entries(FIXTURES))(
  '%s for a GPU',
  (name, {
    apart = false,
    half = false,
    packs = false,
  }: { apart?: boolean; half?: boolean; packs?: boolean }) => {
    it('has operators that run there, and gives what the original gives, in place and otherwise', async () => {
      const original = await fixture(name);
      const { model, decoder } = rewriteDecoder(original, { target: 'gpu' });
      expect(operators(graphOf(model).node).filter((each) => NOT_THERE.includes(each))).toEqual([]);
      // A softcap is not WebGPU's operator's.
      expect(decoder.layers.map(({ inPlace = false }) => inPlace)).toEqual(decoder.layers.map(() => !apart));
      const both = await BothDecoders.open(original, half, 'gpu');
      const tolerance = half ? 2e-2 : 1e-4;
      const packed = decoder.layers.every(({ packs }) => packs) ? (['packed'] as const) : [];
      expect(packed.length).toBe(packs ? 1 : 0);
      for (const inPlace of [undefined, 'even', ...packed] as const) {
        both.inPlace = inPlace;
        const { expected, actual } = await both.run({
          // Behind the windows of 24, where the original is right there: docs/patterns.md says which is not.
          chunks: [apart ? 19 : 27, 1, 1, 1],
        });
        expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(tolerance);
        if (inPlace === 'packed') continue;
        for (const [i, step] of expected.steps.entries()) {
          step.attention.forEach((received, layer) => {
            expect(largestDifference(actual.steps[i]!.attention[layer]!, received)).toBeLessThan(tolerance);
          });
        }
      }
      await both.release();
    });
  },
);

it('a target that there is not is refused', async () => {
  const original = await fixture('genai-grouped');
  expect(() => rewriteDecoder(original, { target: 'tpu' as 'gpu' })).toThrow(
    'target is "tpu"; choose one of host, gpu, or leave it out for host.',
  );
});
