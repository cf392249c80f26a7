import { describe, expect, it } from 'vitest';
import { openModel } from '../../test/graph/decoder-runs.js';
import { fixture } from '../../test/graph/exported-runs.js';
import { GraphBuilder } from './builder.js';
import { inspectDecoder } from './inspect.js';
import { DataType, graphOf, type Model, type Node } from './onnx.js';
import { rewriteDecoder } from './rewrite.js';

function nodeOf(model: Model, opType: string): Node {
  return graphOf(model).node.find((node) => node.opType === opType)!;
}

describe('a decoder that chooses its rotation by the length of the text', () => {
  it.each(['genai-longrope', 'genai-longrope-dml'])('is told it, and needs no mask: %s', async (name) => {
    const { decoder, model } = rewriteDecoder(await fixture(name));
    expect(decoder.textLength).toBe(true);
    expect(decoder.otherInputs).toEqual([]);
    expect(graphOf(model).input.filter(({ name }) => name === 'text_length')).toHaveLength(1);
  });

  it('may compare it in int32, with its dimensions kept', async () => {
    const model = await fixture('genai-longrope-dml');
    const builder = new GraphBuilder(model);
    const int32 = (name: string) => builder.op('Cast', [name], { attributes: { to: DataType.INT32 } });
    const last = builder.op('ReduceMax', [int32('position_ids')], { attributes: { keepdims: 1 } });
    nodeOf(model, 'GreaterOrEqual').input = [last, builder.int32('limit', [], [32])];
    const rewritten = rewriteDecoder(model);
    expect(rewritten.decoder.textLength).toBe(true);
    expect(graphOf(rewritten.model).node.some(({ opType }) => opType === 'ReduceMax')).toBe(false);
    await (await openModel(rewritten.model)).release();
  });

  it('is refused by name when an If chooses by something else made of the mask', async () => {
    const model = await fixture('genai-longrope');
    const builder = new GraphBuilder(model);
    const compared = nodeOf(model, 'Greater');
    compared.input[0] = builder.op('Mul', [compared.input[0], builder.int64('two', [], [2])]);
    const { refusal } = inspectDecoder(model);
    expect(refusal).toContain('"/model/rotemb_caches_subgraph/If" (If)');
    expect(refusal).toContain('chooses by the attention mask or the positions');
  });
});
