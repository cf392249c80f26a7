import type { AttributeValue } from '../../src/graph/onnx/attributes.js';
import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, type Model } from '../../src/graph/onnx/onnx.js';
import { gaussian } from './gqa-decoder.js';

export interface AttentionDecoderOptions {
  /** Rows [B, S, heads * headDim] with the heads as attributes, or [B, heads, S, headDim]. */
  layout: 'rows' | 'heads';
  queryHeads: number;
  kvHeads: number;
  /** The operator's own causal mask, a boolean one, one that is added, a boolean one of a window of 6 tokens, or one that counts new tokens from 0. */
  mask: 'own' | 'boolean' | 'added' | 'window' | 'counts-from-0' | 'none';
  opset: number;
  extraAttributes: Record<string, AttributeValue>;
  /** Further inputs of the operator by position, by name of a value of the graph. */
  extraInputs: Record<number, string>;
}

const HEAD_DIM = 16;
const HIDDEN = 64;
const LAYERS = 2;
const VOCAB = 99;

/** A small random decoder that leaves its cache to ONNX's Attention, as exporters for operator set 24 write it. */
export function buildAttentionDecoder(overrides: Partial<AttentionDecoderOptions> = {}): Model {
  const options: AttentionDecoderOptions = {
    layout: 'rows',
    queryHeads: 4,
    kvHeads: 2,
    mask: 'own',
    opset: 23,
    extraAttributes: {},
    extraInputs: {},
    ...overrides,
  };
  const { queryHeads, kvHeads, layout } = options;
  const g = GraphBuilder.create('decoder', { '': options.opset });
  const random = gaussian(5);
  const project = (x: string, name: string, from: number, to: number) => {
    const values = Float32Array.from({ length: from * to }, () => random() / Math.sqrt(from));
    return g.op('MatMul', [x, g.float32(name, [from, to], values)]);
  };
  let x = g.input('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', HIDDEN]);
  g.input('attention_mask', DataType.INT64, ['batch_size', 'total_sequence_length']);
  const past = (i: number, part: string) =>
    g.input(`past_key_values.${i}.${part}`, DataType.FLOAT, ['batch_size', kvHeads, 'past_length', HEAD_DIM]);
  const caches = Array.from({ length: LAYERS }, (_, i) => [past(i, 'key'), past(i, 'value')]);
  const mask = maskOf(g, options.mask);
  const heads = (rows: string, count: number) =>
    layout === 'rows'
      ? rows
      : g.op('Transpose', [g.op('Reshape', [rows, g.int64('shape', [4], [0, 0, count, HEAD_DIM])])], {
          attributes: { perm: [0, 2, 1, 3] },
        });
  for (let i = 0; i < LAYERS; i++) {
    const inputs = [
      heads(project(x, `q.${i}`, HIDDEN, queryHeads * HEAD_DIM), queryHeads),
      heads(project(x, `k.${i}`, HIDDEN, kvHeads * HEAD_DIM), kvHeads),
      heads(project(x, `v.${i}`, HIDDEN, kvHeads * HEAD_DIM), kvHeads),
      mask,
      ...caches[i]!,
    ];
    for (const [at, name] of Object.entries(options.extraInputs)) inputs[Number(at)] = name;
    const [attended = ''] = g.ops('Attention', Array.from(inputs), {
      name: `layer.${i}.attention`,
      outputs: [`attended.${i}`, `present.${i}.key`, `present.${i}.value`],
      attributes: {
        ...(layout === 'rows' ? { q_num_heads: queryHeads, kv_num_heads: kvHeads } : {}),
        ...(options.mask === 'own' ? { is_causal: 1 } : {}),
        ...options.extraAttributes,
      },
    });
    const width = queryHeads * HEAD_DIM;
    const rows =
      layout === 'rows'
        ? attended
        : g.op('Reshape', [
            g.op('Transpose', [attended], { attributes: { perm: [0, 2, 1, 3] } }),
            g.int64('shape', [3], [0, 0, width]),
          ]);
    x = g.op('Add', [x, project(rows, `o.${i}`, width, HIDDEN)]);
  }
  g.op('Identity', [project(x, 'lm_head', HIDDEN, VOCAB)], { outputs: ['logits'] });
  g.output('logits', DataType.FLOAT, ['batch_size', 'sequence_length', VOCAB]);
  for (let i = 0; i < LAYERS; i++) {
    for (const part of ['key', 'value']) {
      g.output(`present.${i}.${part}`, DataType.FLOAT, ['batch_size', kvHeads, 'total_length', HEAD_DIM]);
    }
  }
  return g.model;
}

/** Causal over past and new tokens: [S, P + S]. */
function maskOf(g: GraphBuilder, kind: AttentionDecoderOptions['mask']): string | undefined {
  if (kind === 'own' || kind === 'none') return undefined;
  const size = (name: string, axis: number) =>
    g.op('Gather', [g.op('Shape', [name]), g.int64('axis', [], [axis])]);
  const zero = g.int64('zero', [], [0]);
  const one = g.int64('one', [], [1]);
  const total = size('attention_mask', 1);
  const all = g.op('Range', [zero, total, one]);
  const fresh = size('inputs_embeds', 1);
  const numbers = kind === 'counts-from-0' ? [zero, fresh, one] : [g.op('Sub', [total, fresh]), total, one];
  const queries = g.op('Unsqueeze', [g.op('Range', numbers), g.int64('last', [1], [1])]);
  const keeps = g.op('LessOrEqual', [all, queries]);
  if (kind === 'boolean' || kind === 'counts-from-0') return keeps;
  if (kind === 'window') {
    const near = g.op('Less', [g.op('Sub', [queries, all]), g.int64('window', [], [6])]);
    return g.op('And', [keeps, near]);
  }
  return g.op('Where', [keeps, g.float32('shown', [], [0]), g.float32('hidden', [], [-1e9])]);
}
