import { describe, expect, it } from 'vitest';
import { buildGqaDecoder, type GqaDecoderOptions } from '../../test/graph/gqa-decoder.js';
import { ElasticCacheError } from '../errors.js';
import { attributeInit } from './attributes.js';
import { GraphBuilder } from './builder.js';
import { inspectDecoder } from './inspect.js';
import { createNode, DataType, graphOf, type Model, serializeModel } from './onnx.js';
import { rewriteDecoder } from './rewrite.js';

const NODE = '/model/layers.0/attn/GroupQueryAttention';

/** What must be refused: options of the test decoder, or a change to it, and what the message must say. */
const REFUSED: Record<
  string,
  { options?: Partial<GqaDecoderOptions>; change?: (model: Model) => void; says: string[] }
> = {
  'a sliding window': {
    options: { extraAttributes: { local_window_size: 512 } },
    says: [NODE, '512 tokens'],
  },
  'smooth softmax': { options: { extraAttributes: { smooth_softmax: 1 } }, says: [NODE, 'smooth softmax'] },
  'attention that is not causal': { options: { extraAttributes: { causal: 0 } }, says: [NODE, 'not causal'] },
  'a quantised cache': {
    options: { extraAttributes: { k_quant_type: 'PER_TENSOR' } },
    says: [NODE, 'quantised'],
  },
  'a quantised cache by its scale': {
    options: { extraInputs: { 12: 'cos_cache' } },
    says: [NODE, 'quantised'],
  },
  'an attention bias': { options: { extraInputs: { 10: 'cos_cache' } }, says: [NODE, 'attention bias'] },
  'a head sink': { options: { extraInputs: { 11: 'cos_cache' } }, says: [NODE, 'head sink'] },
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
  'token ids as input': {
    change: (model) => {
      graphOf(model).input.find(({ name }) => name === 'inputs_embeds')!.name = 'input_ids';
    },
    says: ['inputs_embeds'],
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
      hiddenInput: 'inputs_embeds',
      positionIds: 'batch-sequence',
      logits: 'all',
      otherInputs: [],
      otherOutputs: [],
    });
    expect(report.removedInputs).toContain('attention_mask');
    const operators = new Set(graphOf(model).node.map((node) => node.opType));
    for (const gone of ['GroupQueryAttention', 'Sub']) expect(operators).not.toContain(gone);
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
