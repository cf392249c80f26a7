import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { graphOf, type Model } from '../../src/graph/onnx/onnx.js';
import { GraphIndex } from '../../src/graph/onnx/queries.js';
import { fixture, largestDifference, runBoth } from './exported-runs.js';

/** The masks of this decoder are Where(keeps, 0, -inf), added to the scores. Here the scores themselves are chosen. */
async function chosenScores(way: 'keeps' | 'hides'): Promise<Model> {
  const model = await fixture('optimum-onnx-gemma3-sdpa');
  const index = new GraphIndex(graphOf(model));
  const builder = new GraphBuilder(model);
  const fill = builder.float32('fill', [], [Number.NEGATIVE_INFINITY]);
  const softmaxes = graphOf(model).node.filter(({ opType }) => opType === 'Softmax');
  for (const softmax of softmaxes) {
    const add = index.producer(softmax.input[0]!)!;
    const [scores = '', mask = ''] = add.input;
    const keeps = index.producer(mask)!.input[0]!;
    add.opType = 'Where';
    add.input = way === 'keeps' ? [keeps, scores, fill] : [builder.op('Not', [keeps]), fill, scores];
  }
  return model;
}

describe('a boolean mask that chooses the scores', () => {
  it.each(['keeps', 'hides'] as const)('is understood where it %s them, with a window', async (way) => {
    const chunks = [13, ...new Array<number>(32).fill(1)];
    const { expected, actual, decoder } = await runBoth(await chosenScores(way), { chunks });
    expect(decoder.layers.map(({ window }) => window)).toEqual([24, undefined]);
    expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
  });
});
