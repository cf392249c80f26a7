import { describe, expect, it } from 'vitest';
import { inspectDecoder } from '../../src/graph/inspect.js';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { graphOf, type Model, type Node } from '../../src/graph/onnx/onnx.js';
import { type AttentionDecoderOptions, buildAttentionDecoder } from './attention-decoder.js';
import { fixture, largestDifference, runBoth } from './exported-runs.js';
import { buildMultiHeadDecoder, type MultiHeadDecoderOptions } from './multi-head-decoder.js';

const PROMPTS = [[13], [7, 20, 1, 6]];
const DECODED = new Array<number>(32).fill(1);

const CASES: Record<string, Partial<AttentionDecoderOptions>> = {
  'rows, its own causal mask': {},
  'heads, its own causal mask': { layout: 'heads' },
  'rows, a boolean mask': { mask: 'boolean' },
  'heads, an added mask': { layout: 'heads', mask: 'added' },
  'as many key heads as query heads': { kvHeads: 4 },
  'one key head for all': { kvHeads: 1, layout: 'heads' },
  'operator set 24': { opset: 24 },
  'a boolean mask with a window': { mask: 'window' },
  'own scale and softcap': { extraAttributes: { scale: { float: 0.4 }, softcap: { float: 1.5 } } },
};

describe("a decoder over ONNX's Attention", () => {
  for (const [name, options] of Object.entries(CASES)) {
    for (const prompt of PROMPTS) {
      it(`gives the original's logits: ${name}, ${prompt.length} passes`, async () => {
        const { expected, actual, report, decoder } = await runBoth(buildAttentionDecoder(options), {
          chunks: [...prompt, ...DECODED],
        });
        expect(report.layers[0]).toMatchObject({ pattern: 'Attention', node: 'layer.0.attention' });
        expect(decoder.layers[1]).toMatchObject({ queryHeads: 4, kvHeads: options.kvHeads ?? 2 });
        expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
      });
    }
  }
});

const MULTI_HEAD_CASES: Record<string, Partial<MultiHeadDecoderOptions>> = {
  'an added mask': {},
  'its own causal mask': { mask: 'own' },
  'a bias of the projections': { projectionBias: true },
  'a key padding mask': { padding: 'keys' },
  'all of these': { mask: 'own', padding: 'keys', projectionBias: true },
  'keys split into heads, own scale': { splitKeys: true, extraAttributes: { scale: { float: 0.4 } } },
};

describe('a decoder over MultiHeadAttention', () => {
  for (const [name, options] of Object.entries(MULTI_HEAD_CASES)) {
    for (const prompt of PROMPTS) {
      it(`gives the original's logits: ${name}, ${prompt.length} passes`, async () => {
        const { expected, actual, report } = await runBoth(buildMultiHeadDecoder(options), {
          chunks: [...prompt, ...DECODED],
        });
        expect(report.layers[0]).toMatchObject({ pattern: 'MultiHeadAttention', node: 'layer.0.attention' });
        expect(largestDifference(actual.logits, expected.logits)).toBeLessThan(1e-4);
      });
    }
  }
});

/** What must be refused: a decoder, a change to it, and what the message must say. */
interface Refused {
  model: () => Model | Promise<Model>;
  change?: (model: Model) => void;
  says: string[];
}

const MULTI_HEAD = '"/model/layers.0/attn/MultiHeadAttention"';

const REFUSED: Record<string, Refused> = {
  'Attention without a mask': {
    model: () => buildAttentionDecoder({ mask: 'none' }),
    says: ['"layer.0.attention" (Attention)', 'no mask'],
  },
  // Nemotron by transformers 4.46.
  'Attention with a mask that counts new tokens as if none were held': {
    model: () => buildAttentionDecoder({ mask: 'counts-from-0' }),
    says: ['"layer.0.attention"', 'hides a token from itself', 'newer version of its exporter'],
  },
  'Attention with lengths of its rows': {
    model: () => buildAttentionDecoder({ opset: 24, extraInputs: { 6: 'attention_mask' } }),
    says: ['"layer.0.attention"', 'lengths of its rows'],
  },
  'Attention with a window': {
    model: () => buildAttentionDecoder({ extraAttributes: { left_window_size: 4 } }),
    says: ['"layer.0.attention"', 'left_window_size'],
  },
  'MultiHeadAttention with a bias of repeated heads': {
    model: () => fixture('genai-multi-head-repeated'),
    change: (model) => setInput(model, 'MultiHeadAttention', 3, 'inputs_embeds'),
    says: [MULTI_HEAD, 'to repeated heads'],
  },
  'MultiHeadAttention with a bias of keys that are split': {
    model: () => buildMultiHeadDecoder({ splitKeys: true, projectionBias: true }),
    says: ['"layer.0.attention"', 'keys that are split'],
  },
  'MultiHeadAttention with lengths of its rows': {
    model: () => buildMultiHeadDecoder({ padding: 'lengths' }),
    says: ['"layer.0.attention"', 'cannot be understood'],
  },
  'MultiHeadAttention with masks that hide little': {
    model: () => buildMultiHeadDecoder({ extraAttributes: { mask_filter_value: { float: -3 } } }),
    says: ['"layer.0.attention"', 'only add -3'],
  },
  'MultiHeadAttention with a length of its past': {
    model: () => fixture('genai-multi-head'),
    change: (model) => setInput(model, 'MultiHeadAttention', 8, 'attention_mask'),
    says: [MULTI_HEAD, 'a length of its past'],
  },
  'MultiHeadAttention with a cache for beams': {
    model: () => fixture('genai-multi-head'),
    change: (model) => setInput(model, 'MultiHeadAttention', 9, 'attention_mask'),
    says: [MULTI_HEAD, 'a cache indirection'],
  },
  'MultiHeadAttention without a mask': {
    model: () => fixture('genai-multi-head-repeated'),
    change: (model) => setInput(model, 'MultiHeadAttention', 5, ''),
    says: [MULTI_HEAD, 'no mask'],
  },
  'MultiHeadAttention with packed rows': {
    model: () => fixture('genai-multi-head'),
    change: (model) => setInput(model, 'MultiHeadAttention', 1, ''),
    says: [MULTI_HEAD, 'packed'],
  },
  'key heads repeated in another order': {
    model: () => fixture('genai-multi-head-repeated'),
    change: (model) => {
      const unsqueeze = graphOf(model).node.find(
        ({ opType, input }) => opType === 'Unsqueeze' && input[0] === 'present.0.key',
      )!;
      unsqueeze.input[1] = new GraphBuilder(model).int64('other_axis', [1], [1]);
    },
    says: [MULTI_HEAD, 'more than repeat its heads'],
  },
  'a softmax over another axis': {
    model: () => fixture('torch-eager'),
    change: (model) => {
      first(model, 'Softmax').attribute = attributes({ axis: 1 });
    },
    says: ['self_attn/MatMul_1"', 'over axis 1'],
  },
  'a mask that shows later tokens': {
    model: () => fixture('torch-eager'),
    change: (model) => {
      first(model, 'Trilu').input[1] = new GraphBuilder(model).int64('later', [], [3]);
    },
    says: ['self_attn/Softmax"', 'those after them'],
  },
  'a mask made of positions': {
    model: () => fixture('torch-eager'),
    change: (model) => {
      const [, mask] = maskedScores(model).input;
      const shift = new GraphBuilder(model).op('Cast', ['position_ids'], { attributes: { to: 1 } });
      maskedScores(model).input[1] = new GraphBuilder(model).op('Add', [mask, shift]);
    },
    says: ['self_attn/Softmax"', 'depends on what "position_ids" holds'],
  },
  'a mask that adds other numbers': {
    model: () => fixture('torch-eager'),
    change: (model) => {
      const add = maskedScores(model);
      const builder = new GraphBuilder(model);
      add.input[1] = builder.op('Add', [add.input[1], builder.float32('bias', [], [0.5])]);
    },
    says: ['self_attn/Softmax"', 'other than 0 and minus infinity'],
  },
  'scores that something else changes': {
    model: () => fixture('torch-eager'),
    change: (model) => {
      const add = maskedScores(model);
      add.input[0] = new GraphBuilder(model).op('Sigmoid', [add.input[0]]);
    },
    says: ['self_attn/MatMul_1"', 'not over the scores'],
  },
};

describe('attention that is not understood', () => {
  for (const [what, { model: make, change, says }] of Object.entries(REFUSED)) {
    it(`is refused by name: ${what}`, async () => {
      const model = await make();
      change?.(model);
      const { refusal } = inspectDecoder(model);
      for (const words of says) expect(refusal).toContain(words);
    });
  }
});

function first(model: Model, opType: string): Node {
  return graphOf(model).node.find((node) => node.opType === opType)!;
}

function maskedScores(model: Model): Node {
  const [name] = first(model, 'Softmax').input;
  return graphOf(model).node.find(({ output }) => output[0] === name)!;
}

function setInput(model: Model, opType: string, at: number, name: string): void {
  const node = first(model, opType);
  while (node.input.length <= at) node.input.push('');
  node.input[at] = name;
}

function attributes(values: Record<string, number>) {
  const source = GraphBuilder.create('attributes', { '': 21 });
  source.op('Identity', ['x'], { attributes: values });
  return source.graph.node[0]!.attribute;
}
