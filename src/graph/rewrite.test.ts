import { describe, expect, it } from 'vitest';
import { buildGqaDecoder, type GqaDecoderOptions } from '../../test/graph/gqa-decoder.js';
import { ElasticCacheError } from '../errors.js';
import { inspectDecoder } from './inspect.js';
import { attributeInit } from './onnx/attributes.js';
import { GraphBuilder } from './onnx/builder.js';
import { createNode, DataType, graphOf, type Model, serializeModel } from './onnx/onnx.js';
import { rewriteDecoder } from './rewrite.js';

const NODE = '/model/layers.0/attn/GroupQueryAttention';

/** What must be refused: options of the test decoder, or a change to it, and what the message must say. */
const REFUSED: Record<
  string,
  { options?: Partial<GqaDecoderOptions>; change?: (model: Model) => void; says: string[] }
> = {
  'a cache that is a window': {
    options: { extraAttributes: { sliding_window_cache: 1 } },
    says: [NODE, 'cache is a sliding window'],
  },
  'attention that is not causal': { options: { extraAttributes: { causal: 0 } }, says: [NODE, 'not causal'] },
  'a quantised cache': {
    options: { extraAttributes: { k_quant_type: 'PER_TENSOR' } },
    says: [NODE, 'quantised'],
  },
  'a quantised cache by its scale': {
    options: { extraInputs: { 12: 'cos_cache' } },
    says: [NODE, 'quantised'],
  },
  'an attention bias that is no mask': {
    options: { bias: 'alibi', inputs: 12 },
    says: [NODE, 'other than 0 and minus infinity'],
  },
  'an attention bias that is not computed in the graph': {
    options: { extraInputs: { 10: 'inputs_embeds' } },
    says: [NODE, 'depends on what "inputs_embeds" holds'],
  },
  'scores as an output': { options: { probabilities: true }, says: [NODE, 'probabilities.0'] },
  'an unknown attribute': { options: { extraAttributes: { new_thing: 1 } }, says: [NODE, 'new_thing'] },
  'a seventeenth input': { options: { extraInputs: { 16: 'cos_cache' } }, says: [NODE, '17 inputs'] },
  'heads that do not divide': { options: { extraAttributes: { kv_num_heads: 3 } }, says: [NODE, 'multiple'] },
  'rotation without tables': {
    options: { rope: 'none', extraAttributes: { do_rotary: 1 } },
    says: [NODE, 'are missing'],
  },
  'another attention operator': {
    change: (model) => {
      const node = graphOf(model).node.find(({ name }) => name === NODE)!;
      node.opType = 'MultiHeadAttention';
    },
    says: [NODE, 'MultiHeadAttention', 'not supported'],
  },
  'a layer without a cache': {
    change: (model) => dropInputs(model, /^past_key_values\.0\./),
    says: ['layer 1', 'none for layer 0'],
  },
  'no cache at all': {
    change: (model) => dropInputs(model, /^past_key_values/),
    says: ['no past_key_values'],
  },
  'layers of different shapes': {
    change: (model) => {
      const node = graphOf(model).node.find(({ name }) => name === NODE.replace('0', '1'))!;
      node.attribute.find(({ name }) => name === 'kv_num_heads')!.i = 4n;
    },
    says: [NODE, NODE.replace('0', '1'), '4 key heads of 16', '2 key heads of 16'],
  },
  'half a cache': {
    change: (model) => dropInputs(model, /^past_key_values\.1\.value$/),
    says: ['past_key_values.1.value'],
  },
  'another state': {
    change: (model) => void new GraphBuilder(model).input('past_conv.0', DataType.FLOAT, [1, 4]),
    says: ['past_conv.0', 'hybrid'],
  },
  'two branches': {
    change: (model) => void new GraphBuilder(model).input('use_cache_branch', DataType.BOOL, [1]),
    says: ['use_cache_branch'],
  },
  'no tokens as input': {
    change: (model) => {
      graphOf(model).input.find(({ name }) => name === 'inputs_embeds')!.name = 'hidden_states';
    },
    says: ['"inputs_embeds" or "input_ids"'],
  },
  'a missing present output': {
    change: (model) => {
      const graph = graphOf(model);
      graph.output = graph.output.filter(({ name }) => name !== 'present.1.key');
    },
    says: ['present.1.key'],
  },
  'another reader of the cache': {
    change: (model) => addOutput(model, 'Relu', 'past_key_values.0.key', 'reader'),
    says: ['past_key_values.0.key', 'two nodes', 'reader'],
  },
  'another reader of the whole cache': {
    change: (model) => addOutput(model, 'Relu', 'present.1.key', 'reader'),
    says: ['"reader" (Relu)', 'present.1.key'],
  },
  'an old operator set': {
    change: (model) => {
      model.opsetImport.find(({ domain }) => domain === '')!.version = 12n;
    },
    says: ['operator set 12'],
  },
  'a name of ours': {
    change: (model) => addOutput(model, 'Relu', 'logits', 'node', 'attention.1'),
    says: ['attention.1'],
  },
};

describe('rewriteDecoder', () => {
  for (const [what, { options, change, says }] of Object.entries(REFUSED)) {
    it(`refuses ${what}`, () => {
      const model = buildGqaDecoder(options);
      change?.(model);
      const refusal = inspectDecoder(model).refusal;
      for (const words of says) expect(refusal).toContain(words);
      expect(() => rewriteDecoder(model)).toThrow(ElasticCacheError);
    });
  }

  it('leaves the original as it was', () => {
    const model = buildGqaDecoder();
    const before = serializeModel(model);
    rewriteDecoder(model);
    expect(serializeModel(model)).toEqual(before);
  });

  it('removes the lengths and the mask, and tells what is left', () => {
    const { model, decoder, report } = rewriteDecoder(buildGqaDecoder());
    expect(decoder).toEqual({
      layers: [0, 1].map((index) => ({ index, queryHeads: 4, kvHeads: 2, headDim: 16 })),
      tokenInput: 'inputs_embeds',
      past: 'float32',
      stockPast: 'float32',
      target: 'host',
      positionIds: 'batch-sequence',
      otherInputs: [],
      otherOutputs: [],
    });
    expect(report.removedInputs).toContain('attention_mask');
    const operators = new Set(graphOf(model).node.map((node) => node.opType));
    for (const gone of ['GroupQueryAttention', 'Sub']) expect(operators).not.toContain(gone);
  });

  it('tells how far each layer sees', () => {
    const { decoder } = rewriteDecoder(buildGqaDecoder({ windows: [6, 0] }));
    expect(decoder.layers.map(({ window }) => window)).toEqual([6, undefined]);
  });

  it.each([
    ['float16', DataType.FLOAT16],
    ['bfloat16', DataType.BFLOAT16],
  ] as const)('gives float32 keys and values beside a %s decoder', (float, type) => {
    // ONNX Runtime's CPU provider runs no bfloat16 products: what can be seen here is the graph.
    const { model } = rewriteDecoder(buildGqaDecoder({ float, bias: 'window', sink: true, inputs: 12 }));
    const { input, output, node } = graphOf(model);
    const typeOf = (name: string) =>
      [...input, ...output].find((value) => value.name === name)?.type?.tensorType?.elemType;
    for (const name of ['new_key.0', 'new_value.1', 'past_bias.1']) expect(typeOf(name)).toBe(DataType.FLOAT);
    // What is held is held as the original holds it, where that is a format of ours.
    expect(typeOf('past_key.0')).toBe(float === 'float16' ? type : DataType.FLOAT);
    for (const name of ['inputs_embeds', 'logits']) expect(typeOf(name)).toBe(type);
    const back = node.find((each) => each.output[0] === 'attention_1')!;
    expect(back.opType).toBe('Cast');
    expect(Number(back.attribute[0]?.i)).toBe(type);
  });

  it('takes a length that was taken from the cache from the attention mask', () => {
    const model = buildGqaDecoder();
    addOutput(model, 'Shape', 'past_key_values.0.key', 'length');
    expect(rewriteDecoder(model).decoder.otherInputs).toEqual(['attention_mask']);
  });

  it('declares position_ids only for a rotation that used to count', () => {
    const positions = (options: Partial<GqaDecoderOptions>) =>
      rewriteDecoder(buildGqaDecoder(options)).decoder.positionIds;
    expect(positions({ rope: 'inside', positionIds: false })).toBe('batch-sequence');
    expect(positions({ rope: 'none', positionIds: false })).toBe('absent');
  });

  it('reports inputs that the decoder still needs', () => {
    const model = buildGqaDecoder();
    new GraphBuilder(model).input('num_logits_to_keep', DataType.INT64, []);
    addOutput(model, 'Cast', 'num_logits_to_keep', 'kept', 'kept', { to: DataType.FLOAT });
    const { decoder } = rewriteDecoder(model);
    expect(decoder.otherInputs).toEqual(['num_logits_to_keep']);
    expect(decoder.otherOutputs).toEqual(['kept']);
  });
});

describe('inspectDecoder', () => {
  it('describes each layer and the cost of a token', () => {
    const inspection = inspectDecoder(buildGqaDecoder({ rope: 'inside', packed: true }));
    expect(inspection.refusal).toBeUndefined();
    expect(inspection.cacheBytesPerToken).toBe(2 * 2 * 2 * 16 * 4);
    expect(inspection.report?.layers[0]).toEqual({
      pattern: 'GroupQueryAttention',
      node: NODE,
      packed: true,
      rope: 'inside',
    });
    expect(inspection.operators).toContainEqual({ name: 'com.microsoft.GroupQueryAttention', count: 2 });
  });
});

function dropInputs(model: Model, names: RegExp): void {
  const graph = graphOf(model);
  graph.input = graph.input.filter(({ name }) => !names.test(name));
}

function addOutput(
  model: Model,
  opType: string,
  input: string,
  node: string,
  output = `${node}_output`,
  attributes = {},
) {
  const graph = graphOf(model);
  const attribute = Object.entries<number>(attributes).map(([name, value]) => attributeInit(name, value));
  graph.node.push(createNode({ opType, name: node, input: [input], output: [output], attribute }));
  new GraphBuilder(model).output(output, DataType.FLOAT, []);
}
