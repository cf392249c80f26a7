import { describe, expect, it } from 'vitest';
import { InferenceSession, Tensor } from '#platform/ort.js';
import { fixture } from '../../../test/graph/exported-runs.js';
import { buildGqaDecoder, gaussian } from '../../../test/graph/gqa-decoder.js';
import { subgraphsOf } from '../onnx/attributes.js';
import { GraphBuilder } from '../onnx/builder.js';
import { createNode, DataType, graphOf, type Model, serializeModel } from '../onnx/onnx.js';
import { rewriteDecoder } from '../rewrite.js';
import { withLogitsToKeep } from './logits-to-keep.js';

const HIDDEN = 64;
const VOCAB = 96;
const TOKENS = 7;

async function logits(model: Model, keep?: bigint, withPast = false): Promise<number[]> {
  const session = await InferenceSession.create(serializeModel(model), { logSeverityLevel: 3 });
  const int64 = (values: bigint[], dims: number[]) => new Tensor('int64', values, dims);
  const feeds: Record<string, Tensor> = {
    inputs_embeds: new Tensor('float32', Float32Array.from({ length: TOKENS * HIDDEN }, gaussian(3)), [
      1,
      TOKENS,
      HIDDEN,
    ]),
    attention_mask: int64(Array(TOKENS).fill(1n), [1, TOKENS]),
    position_ids: int64(
      Array.from({ length: TOKENS }, (_, i) => BigInt(i)),
      [1, TOKENS],
    ),
    ...(keep === undefined ? {} : { num_logits_to_keep: int64([keep], []) }),
  };
  if (session.inputNames.includes('use_cache_branch'))
    feeds.use_cache_branch = new Tensor('bool', [withPast], [1]);
  for (const name of session.inputNames.filter((name) => name.startsWith('past'))) {
    feeds[name] = new Tensor('float32', new Float32Array(0), [1, 2, 0, 16]);
  }
  const outputs = await session.run(feeds, ['logits']);
  await session.release();
  return [...(outputs.logits!.data as Float32Array)];
}

/** The decoder with its logits capped, as Gemma's are, after the projection. */
function capped(model: Model): Model {
  const graph = graphOf(model);
  const made = graph.node.find((node) => node.output.includes('logits'))!;
  made.output[0] = 'raw_logits';
  const builder = new GraphBuilder(model);
  const cap = builder.float32('cap', [], [2]);
  const tanh = builder.op('Tanh', [builder.op('Div', ['raw_logits', cap])]);
  builder.ops('Mul', [cap, tanh], { outputs: ['logits'] });
  return model;
}

describe('num_logits_to_keep', () => {
  it.each([
    ['float32 weights', buildGqaDecoder({ vocab: VOCAB })],
    ['int4 weights', buildGqaDecoder({ vocab: VOCAB, weights: 'int4' })],
    ['int8 weights', buildGqaDecoder({ vocab: VOCAB, weights: 'int8' })],
    ['capped logits', capped(buildGqaDecoder({ vocab: VOCAB }))],
  ])('gives the last logits or all of a decoder with %s', async (_, original) => {
    const model = withLogitsToKeep(original);
    const expected = await logits(original);
    expect(await logits(model, 0n)).toEqual(expected);
    const last = await logits(model, 2n);
    expect(last).toHaveLength(2 * VOCAB);
    last.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[(TOKENS - 2) * VOCAB + i]!, 5);
    });
  });

  it.each([
    ['optimum-merged-grouped', false],
    ['optimum-merged-grouped', true],
    ['quantised-int8-merged', false],
    ['quantised-int8-merged', true],
  ])('gives them in both branches of the merged decoder %s, with a past: %s', async (name, past) => {
    const original = await fixture(name);
    const model = withLogitsToKeep(original);
    const expected = await logits(original, undefined, past);
    expect(await logits(model, 0n, past)).toEqual(expected);
    const last = await logits(model, 1n, past);
    expect(last).toHaveLength(40);
    last.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[(TOKENS - 1) * 40 + i]!, 5);
    });
  });

  it('stays when the branches of a merged decoder become one', async () => {
    const model = withLogitsToKeep(await fixture('optimum-merged'));
    expect(rewriteDecoder(model).decoder.otherInputs).toEqual(['num_logits_to_keep']);
  });

  it('leaves a merged decoder as it is when one branch mixes tokens after the projection', async () => {
    const model = await fixture('optimum-merged-grouped');
    const [, branch] = subgraphsOf(graphOf(model).node[0]!);
    const made = branch!.node.find(({ output }) => output[0] === 'logits')!;
    made.output[0] = 'raw_logits';
    branch!.node.push(createNode({ opType: 'LogSoftmax', input: ['raw_logits'], output: ['logits'] }));
    expect(withLogitsToKeep(model)).toBe(model);
  });

  it('leaves the original as it was, and a decoder that has the input already', () => {
    const original = buildGqaDecoder();
    const before = serializeModel(original);
    const model = withLogitsToKeep(original);
    expect(Buffer.compare(serializeModel(original), before)).toBe(0);
    expect(withLogitsToKeep(model)).toBe(model);
  });

  it.each([
    [
      'mixes tokens after the projection',
      (model: Model) => {
        rename(model);
        new GraphBuilder(model).ops('Softmax', ['raw_logits'], {
          attributes: { axis: 1 },
          outputs: ['logits'],
        });
      },
    ],
    [
      'reads all logits elsewhere',
      (model: Model) => {
        rename(model);
        const builder = new GraphBuilder(model);
        builder.ops('Identity', ['raw_logits'], { outputs: ['logits'] });
        builder.ops('ReduceMax', ['raw_logits'], { outputs: ['most'] });
        builder.output('most', DataType.FLOAT, [1, 1, 1]);
      },
    ],
  ])('leaves a decoder as it is that %s', (_, change) => {
    const model = buildGqaDecoder();
    change(model);
    expect(withLogitsToKeep(model)).toBe(model);
  });
});

function rename(model: Model): void {
  graphOf(model).node.find((node) => node.output.includes('logits'))!.output[0] = 'raw_logits';
}
