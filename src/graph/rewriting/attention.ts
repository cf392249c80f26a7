import { contractNames, type PastFormat } from '../decoder.js';
import type { GraphBuilder } from '../onnx/builder.js';
import { DataType, MICROSOFT } from '../onnx/onnx.js';
import type { AttentionLayer } from '../patterns/attention-layer.js';
import { type Masks, slotsName } from './masks.js';

/**
 * Adds a layer's attention over past and new rows, in operators that read the past where it lies and give only new rows.
 * Query heads that share a key head are rows of one matrix, so keys and values are never repeated. The importance it
 * returns is the paper's (Liu et al., ECCV 2024, section 3.2): attention received, summed over queries, averaged over heads.
 */
export function addAttention(
  builder: GraphBuilder,
  layer: AttentionLayer,
  masks: Masks,
  format: PastFormat,
): void {
  const { index, queryHeads, kvHeads, headDim } = layer;
  const past = declarePast(builder, layer, format);
  const bias = masks.of(layer);
  const { newTokens } = masks;
  const made = layer.rows(builder);
  const query = toFloat32(builder, layer, made.query);
  const key = toFloat32(builder, layer, made.key, contractNames.newKey(index));
  const value = toFloat32(builder, layer, made.value, contractNames.newValue(index));
  for (const name of [key, value]) {
    builder.output(name, DataType.FLOAT, ['batch_size', kvHeads, 'sequence_length', headDim]);
  }
  // [B, kvHeads, queries, headDim] with queries = (queryHeads / kvHeads) * S.
  const grouped =
    queryHeads === kvHeads
      ? query
      : reshape(builder, query, `group_shape.${index}`, [0, kvHeads, -1, headDim]);

  const sink = layer.sink?.(builder);
  const rows: Rows = { query: grouped, key, value, past, bias, sink, newTokens, masks };
  const branch = (name: string, attend: typeof attendApart) => {
    const inner = builder.branch(`${name}.${index}`);
    const { weights, context } = attend(inner, layer, rows);
    const shape = ['batch_size', kvHeads, `queries.${index}`];
    inner.output(weights, DataType.FLOAT, [...shape, `${slotsName(index)} + sequence_length`]);
    inner.output(context, DataType.FLOAT, [...shape, headDim]);
    return { graph: inner.graph };
  };
  // Joining copies headDim numbers of each row and key head, twice; apart, the scores are copied: S for each query head.
  const few = builder.int64(`few_tokens.${index}`, [1], [Math.ceil((headDim * kvHeads) / queryHeads)]);
  const [weights = '', context = ''] = builder.ops('If', [builder.op('Greater', [newTokens, few])], {
    attributes: {
      then_branch: branch('joined', attendJoined),
      else_branch: branch('apart', attendApart),
    },
    outputs: 2,
  });
  addReceived(builder, layer, weights, rows);
  const perHead =
    queryHeads === kvHeads
      ? context
      : reshape(builder, context, `context_shape.${index}`, [0, queryHeads, -1, headDim]);
  finish(builder, layer, perHead);
}

/** What a layer attends with. */
interface Rows {
  query: string;
  key: string;
  value: string;
  past: { key: string; value: string };
  /** [B, H, S, P + S], H 1 or kvHeads */
  bias: string;
  /** [1, queryHeads, 1, 1] */
  sink: string | undefined;
  newTokens: string;
  masks: Masks;
}

/** Attention received, [B, kvHeads, queries, P + S], and what it gives, [B, kvHeads, queries, headDim]. */
interface Attended {
  weights: string;
  context: string;
}

/** For a few new tokens: two score matrices, one softmax over both, two products; the past is not copied. */
function attendApart(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Attended {
  const { query, key, value, past, newTokens } = rows;
  const products = [past.key, key].map((each) => scores(builder, layer, query, each));
  const weights = attention(builder, layer, rows, concat(builder, products, -1));
  const slots = slotsOf(builder, past.key);
  const [pastWeights = '', newWeights = ''] = builder.ops(
    'Split',
    [weights, concat(builder, [slots, newTokens], 0)],
    { attributes: { axis: -1 }, outputs: 2 },
  );
  const context = builder.op('Add', [
    builder.op('MatMul', [pastWeights, past.value]),
    builder.op('MatMul', [newWeights, value]),
  ]);
  return { weights, context };
}

/** For many: the past is copied once, beside the new rows, and the far larger scores are not. */
function attendJoined(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Attended {
  const { query, key, value, past } = rows;
  const keys = concat(builder, [past.key, key], 2);
  const weights = attention(builder, layer, rows, scores(builder, layer, query, keys));
  return { weights, context: builder.op('MatMul', [weights, concat(builder, [past.value, value], 2)]) };
}

function scores(builder: GraphBuilder, layer: AttentionLayer, query: string, keys: string): string {
  const products = builder.op('FusedMatMul', [query, keys], {
    domain: MICROSOFT,
    attributes: { transB: 1, alpha: { float: layer.scale } },
  });
  return softcapped(builder, layer, products);
}

/** P of past rows [B, kvHeads, P, headDim], int64 [1]. */
function slotsOf(builder: GraphBuilder, past: string): string {
  return builder.op('Gather', [builder.op('Shape', [past]), builder.int64('slots_axis', [1], [2])]);
}

/** The softmax of scores [B, kvHeads, queries, T] and their bias; a sink takes its share as one more column, cut off again. */
function attention(
  builder: GraphBuilder,
  { index, queryHeads, kvHeads }: AttentionLayer,
  { bias, sink, masks }: Rows,
  scores: string,
): string {
  // The bias is the same for every query head of a key head, and these are rows of one matrix.
  const group = queryHeads / kvHeads;
  const split = (name: string) =>
    group === 1 ? name : builder.op('Reshape', [name, masks.splitShape(kvHeads, group)]);
  const joined = (name: string) =>
    group === 1 ? name : builder.op('Reshape', [name, masks.joinedShape(kvHeads, group)]);
  const perGroup =
    group === 1 ? bias : builder.op('Unsqueeze', [bias, builder.int64(`group_axis.${index}`, [1], [2])]);
  const masked = builder.op('Add', [split(scores), perGroup]);
  const softmax = (name: string) => builder.op('Softmax', [name], { attributes: { axis: -1 } });
  if (sink === undefined) return joined(softmax(masked));

  const sinks = group === 1 ? sink : reshape(builder, sink, `sink_shape.${index}`, [1, kvHeads, group, 1, 1]);
  const rank = group === 1 ? 4 : 5;
  const whole = softmax(concat(builder, [masked, sinkColumn(builder, index, sinks, masked, rank)], -1));
  return joined(
    builder.op('Slice', [
      whole,
      builder.int64('first_column', [1], [0]),
      builder.int64('sink_column', [1], [-1]),
      builder.int64('columns_axis', [1], [rank - 1]),
    ]),
  );
}

/** A sink for each query of scores [.., S, T]: [.., S, 1]. */
function sinkColumn(
  builder: GraphBuilder,
  index: number,
  sink: string,
  scores: string,
  rank: number,
): string {
  const axes = Array.from({ length: rank - 1 }, (_, axis) => axis);
  const rows = builder.op('Gather', [
    builder.op('Shape', [scores]),
    builder.int64('row_axes', [axes.length], axes),
  ]);
  const one = builder.int64(`one_column.${index}`, [1], [1]);
  return builder.op('Expand', [sink, concat(builder, [rows, one], 0)]);
}

function concat(builder: GraphBuilder, names: readonly string[], axis: number): string {
  return builder.op('Concat', names, { attributes: { axis } });
}

/** Declares a layer's past keys and values, and gives them as float32. */
function declarePast(builder: GraphBuilder, { index, kvHeads, headDim }: AttentionLayer, format: PastFormat) {
  const shape = ['batch_size', kvHeads, slotsName(index)];
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

function softcapped(builder: GraphBuilder, { index, softcap }: AttentionLayer, scores: string): string {
  if (softcap === 0) return scores;
  const cap = builder.float32(`softcap.${index}`, [], [softcap]);
  return builder.op('Mul', [builder.op('Tanh', [builder.op('Div', [scores, cap])]), cap]);
}

/** What each row received, by key head: the sum over the queries, and the most of one; what nobody fetches is not computed. */
function addReceived(
  builder: GraphBuilder,
  { index, queryHeads, kvHeads }: AttentionLayer,
  weights: string,
  { past, newTokens, masks }: Rows,
): void {
  const group = queryHeads / kvHeads;
  const shape = ['batch_size', kvHeads, `${slotsName(index)} + sequence_length`];
  const sum = (name: string, axis: number) =>
    builder.op('ReduceSum', [name, builder.int64(`axis_${axis}.${index}`, [1], [axis])], {
      attributes: { keepdims: 0 },
    });
  const perHead = (name: string, output: string) => {
    builder.op('Mul', [name, builder.float32(`per_head.${index}`, [], [1 / group])], { outputs: [output] });
    builder.output(output, DataType.FLOAT, shape);
  };
  perHead(sum(weights, 2), contractNames.attention(index));

  const slots = slotsOf(builder, past.key);
  const of = (own: string) => masks.notOwn(concat(builder, [newTokens, slots], 0), own);
  const others = builder.op('Mul', [
    group === 1 ? weights : builder.op('Reshape', [weights, masks.splitShape(kvHeads, group)]),
    of(`own.${index}`),
  ]);
  const peak = builder.reduceMax(others, group === 1 ? 2 : 3);
  perHead(group === 1 ? peak : sum(peak, 2), contractNames.peak(index));
}

function finish(builder: GraphBuilder, layer: AttentionLayer, context: string): void {
  const { index, queryHeads, headDim, elemType, output, outputLayout } = layer;
  let value = context;
  if (outputLayout === 'rows') {
    const turned = builder.op('Transpose', [context], { attributes: { perm: [0, 2, 1, 3] } });
    value = reshape(builder, turned, `rows_shape.${index}`, [0, 0, queryHeads * headDim]);
  } else if (outputLayout === 'all-heads') {
    const axes = builder.int64(`row_axes.${index}`, [2], [2, 3]);
    const row = builder.op('Gather', [builder.op('Shape', [context]), axes]);
    const all = builder.int64(`all_heads.${index}`, [1], [-1]);
    value = builder.op('Reshape', [context, concat(builder, [all, row], 0)]);
  }
  builder.op('Cast', [value], { attributes: { to: elemType }, outputs: [output] });
}

function reshape(builder: GraphBuilder, name: string, hint: string, shape: readonly number[]): string {
  return builder.op('Reshape', [name, builder.int64(hint, [shape.length], shape)]);
}
