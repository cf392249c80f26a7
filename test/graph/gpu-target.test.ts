import { describe, expect, it } from 'vitest';
import { graphOf, type Node } from '../../src/graph/onnx/onnx.js';
import { rewriteDecoder } from '../../src/graph/rewrite.js';
import { BothDecoders, fixture, largestDifference } from './exported-runs.js';

/** One of each kind of attention: shared key heads, windows, softcaps, tables of two lengths. */
const FIXTURES = [
  'genai-split-windows-0.15',
  'genai-longrope',
  'torch-softcap-window',
  'dynamo-gemma3-attention',
  'families-gpt2',
];

/** What WebGPU has no kernel for, or none that is right everywhere. */
const NOT_THERE = ['FusedMatMul', 'GroupQueryAttention', 'MultiHeadAttention', 'Attention'];

function operators(nodes: readonly Node[]): string[] {
  return nodes.flatMap(({ opType, attribute }) => [
    opType,
    ...attribute.flatMap(({ g }) => (g ? operators(g.node) : [])),
  ]);
}

describe.each(FIXTURES)('%s for a GPU', (name) => {
  it('has operators that run there, and gives what the original gives', async () => {
    const original = await fixture(name);
    const { model } = rewriteDecoder(original, { target: 'gpu' });
    expect(operators(graphOf(model).node).filter((each) => NOT_THERE.includes(each))).toEqual([]);
    const both = await BothDecoders.open(original, false, 'gpu');
    const { expected, actual } = await both.run({ chunks: [19, 1, 1, 1] });
    await both.release();
    expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
  });
});

it('a target that there is not is refused', async () => {
  const original = await fixture('genai-grouped');
  expect(() => rewriteDecoder(original, { target: 'tpu' as 'gpu' })).toThrow(
    'target is "tpu"; choose one of host, gpu, or leave it out for host.',
  );
});
