import { contractNames, type PastFormat, type Target } from '../decoder.js';
import type { GraphBuilder } from '../onnx/builder.js';
import { DataType } from '../onnx/onnx.js';
import type { AttentionLayer } from '../patterns/attention-layer.js';
import { type Attended, attendApart, type Rows } from './attending.js';
import { type Masks, slotsName } from './masks.js';
import { receivedFrom, whereAsked } from './received.js';
import { concat, reshape, sizeOf } from './shapes.js';
import { attendWhole, contextShape, wholeTakes } from './whole-attention.js';

/**
 * Adds a layer's attention over past and new rows, in operators that read the past where it lies and give only new rows.
 * Query heads that share a key head are rows of one matrix, so keys and values are never repeated. The importance it
 * returns is the paper's (Liu et al., ECCV 2024, section 3.2): attention received, summed over queries, averaged over heads.
 *
 * A few new tokens, as in decoding, attend to past and new rows apart, since the past is far larger than they are. For many, ONNX Runtime's own operator for the prompts of unmodified
 * decoders is faster than anything that is made of several: it leaves out what no query may see, and adds no mask. On a GPU it is left alone: what ONNX Runtime runs there for it is wrong on
 * some devices (off by 0.28 in the logits of an unmodified decoder on SwiftShader, with subgroups).
 */
export function addAttention(
  builder: GraphBuilder,
  layer: AttentionLayer,
  masks: Masks,
  target: Target,
  format: PastFormat,
): void {
  const { index, kvHeads, headDim } = layer;
  const past = declarePast(builder, layer, format);
  masks.declare(layer);
  const made = layer.rows(builder);
  const query = toFloat32(builder, layer, made.query);
  const key = toFloat32(builder, layer, made.key, contractNames.newKey(index));
  const value = toFloat32(builder, layer, made.value, contractNames.newValue(index));
  for (const name of [key, value]) {
    builder.output(name, DataType.FLOAT, ['batch_size', kvHeads, 'sequence_length', headDim]);
  }
  const rows: Rows = { query, key, value, past, sink: layer.sink?.(builder), masks, target };
  const branch = (name: string, attend: typeof attendFew) => {
    const inner = builder.branch(`${name}.${index}`);
    const { context, attention, peak } = attend(inner, layer, rows);
    inner.output(context, DataType.FLOAT, contextShape(layer));
    for (const given of [attention, peak])
      inner.output(given, DataType.FLOAT, ['batch_size', kvHeads, `given.${index}`]);
    return { graph: inner.graph };
  };
  const outputs = [
    builder.fresh(`context.${index}`),
    contractNames.attention(index),
    contractNames.peak(index),
  ] as const;
  if (target === 'host' && wholeTakes(layer)) {
    builder.ops('If', [isWhole(builder, layer, rows)], {
      attributes: { then_branch: branch('whole', attendWhole), else_branch: branch('few', attendFew) },
      outputs,
    });
  } else {
    const given = attendFew(builder, layer, rows);
    [given.context, given.attention, given.peak].forEach((name, i) => {
      builder.op('Identity', [name], { outputs: [outputs[i]!] });
    });
  }
  for (const name of outputs.slice(1))
    builder.output(name, DataType.FLOAT, ['batch_size', kvHeads, `${slotsName(index)} + sequence_length`]);
  finish(builder, layer, outputs[0]);
}

/** Past and new rows apart; what is asked for of the attention comes from the weights that are there. */
function attendFew(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Attended {
  const { newTokens, attentionQueries, peakQueries } = rows.masks;
  const { weights, context } = attendApart(builder, layer, rows);
  const received = (queries: string, as: 'sum' | 'peak') => (inner: GraphBuilder) =>
    whereAsked(inner, layer, queries, (within) =>
      receivedFrom(within, layer, rows, weights, newTokens, { queries, as }),
    )[0]!;
  // One If for both, since most steps ask for neither.
  const [attention = '', peak = ''] = whereAsked(
    builder,
    layer,
    rows.masks.askedQueries,
    received(attentionQueries, 'sum'),
    received(peakQueries, 'peak'),
  );
  return { context, attention, peak };
}

/**
 * Whether there are so many new tokens that the past is better copied beside the new rows: that copies headDim numbers of each row and key head, twice; apart, the
 * scores are copied, S for each query head. The whole operator takes several new tokens after a past for one sequence only, each head of which holds as many rows.
 */
function isWhole(builder: GraphBuilder, layer: AttentionLayer, { key, past, masks }: Rows): string {
  const { index, queryHeads, kvHeads, headDim } = layer;
  const few = builder.int64(`few_tokens.${index}`, [1], [Math.ceil((headDim * kvHeads) / queryHeads)]);
  const one = builder.int64(`one_sequence.${index}`, [1], [1]);
  const none = builder.int64(`no_past.${index}`, [1], [0]);
  const sameSize = (axis: number, size: string) =>
    builder.op('Equal', [sizeOf(builder, axis === 0 ? key : past.key, axis), size]);
  const even = sameSize(1, builder.int64(`key_heads.${index}`, [1], [kvHeads]));
  const alone = builder.op('Or', [builder.op('And', [sameSize(0, one), even]), sameSize(2, none)]);
  return builder.op('And', [builder.op('Greater', [masks.newTokens, few]), alone]);
}

/** Declares a layer's past keys and values, and gives them as float32. */
function declarePast(builder: GraphBuilder, { index, kvHeads, headDim }: AttentionLayer, format: PastFormat) {
  // Where heads hold different numbers of rows, these are fed as one head's, and every head is shown all of them.
  const shape = ['batch_size', kvHeads === 1 ? 1 : `past_heads.${index}`, slotsName(index)];
  const half = (name: string, scaleName: string): string => {
    const given = builder.input(name, PAST_TYPES[format], [...shape, headDim]);
    if (format === 'float32') return given;
    const cast = builder.op('Cast', [given], { attributes: { to: DataType.FLOAT } });
    if (format === 'float16') return cast;
    return builder.op('Mul', [cast, builder.input(scaleName, DataType.FLOAT, [...shape, 1])]);
  };
  return {
    key: half(contractNames.pastKey(index), contractNames.pastKeyScale(index)),
    value: half(contractNames.pastValue(index), contractNames.pastValueScale(index)),
  };
}

const PAST_TYPES = {
  float32: DataType.FLOAT,
  float16: DataType.FLOAT16,
  int8: DataType.INT8,
} as const satisfies Record<PastFormat, DataType>;

function toFloat32(builder: GraphBuilder, { elemType }: AttentionLayer, name: string, as?: string): string {
  const outputs = as === undefined ? 1 : [as];
  if (elemType !== DataType.FLOAT)
    return builder.op('Cast', [name], { attributes: { to: DataType.FLOAT }, outputs });
  return as === undefined ? name : builder.op('Identity', [name], { outputs });
}

/** @param context [B, S, queryHeads * headDim] */
function finish(builder: GraphBuilder, layer: AttentionLayer, context: string): void {
  const { index, queryHeads, headDim, elemType, output, outputLayout } = layer;
  let value = context;
  if (outputLayout !== 'rows') {
    const heads = reshape(builder, context, `heads_shape.${index}`, [0, 0, queryHeads, headDim]);
    value = builder.op('Transpose', [heads], { attributes: { perm: [0, 2, 1, 3] } });
  }
  if (outputLayout === 'all-heads') {
    const [all, size] = [-1, headDim].map((dim) => builder.int64(`all_heads.${index}`, [1], [dim]));
    value = builder.op('Reshape', [value, concat(builder, [all!, sizeOf(builder, context, 1), size!], 0)]);
  }
  builder.op('Cast', [value], { attributes: { to: elemType }, outputs: [output] });
}
