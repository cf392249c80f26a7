import { GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, MICROSOFT, type Model } from '../../src/graph/onnx/onnx.js';
import { gaussian } from './gqa-decoder.js';

export interface MultiHeadDecoderOptions {
  /** The operator's own causal mask (`unidirectional`), one that is added, or none. */
  mask: 'own' | 'added' | 'none';
  /** A key padding mask: one number for each key, or the length of each row. */
  padding: 'none' | 'keys' | 'lengths';
  /** One bias for queries, keys and values: the operator's input 3. */
  projectionBias: boolean;
  /** Keys and values [B, heads, S, headDim] instead of [B, S, heads * headDim]. */
  splitKeys: boolean;
  extraAttributes: Record<string, number | { float: number }>;
}

const HEADS = 4;
const HEAD_DIM = 16;
const HIDDEN = HEADS * HEAD_DIM;
const LAYERS = 2;
const VOCAB = 99;

/** A small random decoder over com.microsoft.MultiHeadAttention with past and present. */
export function buildMultiHeadDecoder(overrides: Partial<MultiHeadDecoderOptions> = {}): Model {
  const options: MultiHeadDecoderOptions = {
    mask: 'added',
    padding: 'none',
    projectionBias: false,
    splitKeys: false,
    extraAttributes: {},
    ...overrides,
  };
  const g = GraphBuilder.create('decoder', { '': 21, [MICROSOFT]: 1 });
  const random = gaussian(5);
  const weights = (name: string, dims: number[], size: number) =>
    g.float32(
      name,
      dims,
      Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => size * random()),
    );
  const project = (x: string, name: string, to: number) =>
    g.op('MatMul', [x, weights(name, [HIDDEN, to], 1 / Math.sqrt(HIDDEN))]);
  let x = g.input('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', HIDDEN]);
  g.input('attention_mask', DataType.INT64, ['batch_size', 'total_sequence_length']);
  const past = (i: number, part: string) =>
    g.input(`past_key_values.${i}.${part}`, DataType.FLOAT, ['batch_size', HEADS, 'past_length', HEAD_DIM]);
  const caches = Array.from({ length: LAYERS }, (_, i) => [past(i, 'key'), past(i, 'value')]);
  const mask = options.mask === 'added' ? addedMask(g) : undefined;
  const padding = paddingMask(g, options.padding);
  const split = (rows: string) =>
    options.splitKeys
      ? g.op('Transpose', [g.op('Reshape', [rows, g.int64('shape', [4], [0, 0, HEADS, HEAD_DIM])])], {
          attributes: { perm: [0, 2, 1, 3] },
        })
      : rows;
  for (let i = 0; i < LAYERS; i++) {
    const inputs = [
      project(x, `q.${i}`, HIDDEN),
      split(project(x, `k.${i}`, HIDDEN)),
      split(project(x, `v.${i}`, HIDDEN)),
      options.projectionBias ? weights(`bias.${i}`, [3 * HIDDEN], 0.5) : undefined,
      padding,
      mask,
      ...caches[i]!,
    ];
    const [attended = ''] = g.ops('MultiHeadAttention', inputs, {
      name: `layer.${i}.attention`,
      domain: MICROSOFT,
      outputs: [`attended.${i}`, `present.${i}.key`, `present.${i}.value`],
      attributes: {
        num_heads: HEADS,
        ...(options.mask === 'own' ? { unidirectional: 1 } : {}),
        ...options.extraAttributes,
      },
    });
    x = g.op('Add', [x, project(attended, `o.${i}`, HIDDEN)]);
  }
  g.op('Identity', [project(x, 'lm_head', VOCAB)], { outputs: ['logits'] });
  g.output('logits', DataType.FLOAT, ['batch_size', 'sequence_length', VOCAB]);
  for (let i = 0; i < LAYERS; i++) {
    for (const part of ['key', 'value']) {
      g.output(`present.${i}.${part}`, DataType.FLOAT, ['batch_size', HEADS, 'total_length', HEAD_DIM]);
    }
  }
  return g.model;
}

/** Causal over past and new tokens: [1, 1, S, P + S]. */
function addedMask(g: GraphBuilder): string {
  const size = (name: string) => g.op('Gather', [g.op('Shape', [name]), g.int64('axis', [], [1])]);
  const zero = g.int64('zero', [], [0]);
  const one = g.int64('one', [], [1]);
  const total = size('attention_mask');
  const keys = g.op('Range', [zero, total, one]);
  const first = g.op('Sub', [total, size('inputs_embeds')]);
  const queries = g.op('Unsqueeze', [g.op('Range', [first, total, one]), g.int64('last', [1], [1])]);
  const hidden = g.op('Less', [queries, keys]);
  const mask = g.op('Where', [hidden, g.float32('hidden', [], [-1e9]), g.float32('shown', [], [0])]);
  return g.op('Unsqueeze', [mask, g.int64('batch_axes', [2], [0, 1])]);
}

function paddingMask(g: GraphBuilder, kind: MultiHeadDecoderOptions['padding']): string | undefined {
  if (kind === 'none') return undefined;
  const keys = g.op('Cast', ['attention_mask'], { attributes: { to: DataType.INT32 } });
  if (kind === 'keys') return keys;
  return g.op('ReduceSum', [keys, g.int64('keys_axis', [1], [1])], { attributes: { keepdims: 0 } });
}
