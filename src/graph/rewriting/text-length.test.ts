import { describe, expect, it } from 'vitest';
import { openModel } from '../../../test/graph/decoder-runs.js';
import { fixture } from '../../../test/graph/exported-runs.js';
import { COMPARISONS, longRope } from '../../../test/graph/longrope.js';
import { inspectDecoder } from '../inspect.js';
import { attributeInit } from '../onnx/attributes.js';
import { GraphBuilder } from '../onnx/builder.js';
import { createNode, DataType, graphOf, type Model } from '../onnx/onnx.js';
import { rewriteDecoder } from '../rewrite.js';

async function expectTold(original: Model): Promise<void> {
  const { decoder, model } = rewriteDecoder(original);
  expect(decoder.textLength).toBe(true);
  expect(decoder.otherInputs).toEqual([]);
  const { input, node } = graphOf(model);
  expect(input.filter(({ name }) => name === 'text_length')).toHaveLength(1);
  expect(node.filter(({ opType }) => opType === 'ReduceMax')).toEqual([]);
  await (await openModel(model)).release();
}

describe('a decoder that chooses its rotation by the length of the text', () => {
  it('is told it, and needs no mask: an If', async () => {
    await expectTold(await fixture('genai-longrope'));
  });

  it.each(COMPARISONS)('is told it, and needs no mask: moved positions, %s', async (way) => {
    await expectTold(await longRope(way));
  });
});

describe('a choice by something else made of the mask or the positions is refused by name', () => {
  const says = 'chooses by the attention mask or the positions';

  it('twice the length, under an If', async () => {
    const model = await fixture('genai-longrope');
    const builder = new GraphBuilder(model);
    const compared = graphOf(model).node.find(({ opType }) => opType === 'Greater')!;
    compared.input[0] = builder.op('Mul', [compared.input[0], builder.int64('two', [], [2])]);
    const { refusal } = inspectDecoder(model);
    expect(refusal).toContain(`"${compared.name}" (Greater) ${says}`);
  });

  it('no comparison, under an If', async () => {
    const model = await fixture('genai-longrope');
    const compared = graphOf(model).node.find(({ opType }) => opType === 'Greater')!;
    compared.opType = 'Equal';
    const { refusal } = inspectDecoder(model);
    expect(refusal).toContain(`"/model/rotemb_caches_subgraph/If" (If) ${says}`);
  });

  it('a comparison in a branch of an If', async () => {
    const model = await longRope((comparison, builder) => {
      const branch = (name: string) => {
        const inner = builder.branch(name);
        inner.output(inner.op(comparison.opType, comparison.input), DataType.BOOL, []);
        return { graph: inner.graph };
      };
      const condition = builder.raw('always', DataType.BOOL, [], Uint8Array.of(1));
      builder.ops('If', [condition], {
        attributes: { then_branch: branch('then'), else_branch: branch('else') },
        outputs: comparison.output,
      });
      builder.graph.node = builder.graph.node.filter((node) => node !== comparison);
    });
    expect(inspectDecoder(model).refusal).toContain(`(GreaterOrEqual) ${says}`);
  });

  it.each<[string, number[], number]>([
    ['of each row', [1], 0],
    ['of no axes', [], 1],
  ])('the largest position %s', async (_, axes, noop) => {
    const model = await longRope((comparison, builder, index) => {
      const largest = index.producer(comparison.input[0]!)!;
      largest.input.push(builder.int64('axes', [axes.length], axes));
      largest.attribute.push(
        ...createNode({ attribute: [attributeInit('noop_with_empty_axes', noop)] }).attribute,
      );
    });
    expect(inspectDecoder(model).refusal).toContain(`(GreaterOrEqual) ${says}`);
  });

  it('twice the largest position', async () => {
    const model = await longRope((comparison, builder) => {
      comparison.input[0] = builder.op('Mul', [comparison.input[0], builder.int64('two', [], [2])]);
    });
    expect(inspectDecoder(model).refusal).toContain(`(GreaterOrEqual) ${says}`);
  });

  it('twice the largest position, in the type of the activations', async () => {
    const model = await longRope((comparison, builder) => {
      const twice = builder.op('Mul', [comparison.input[0], builder.int64('two', [], [2])]);
      comparison.input[0] = builder.op('CastLike', [twice, 'inputs_embeds']);
    });
    expect(inspectDecoder(model).refusal).toContain(`(GreaterOrEqual) ${says}`);
  });
});
