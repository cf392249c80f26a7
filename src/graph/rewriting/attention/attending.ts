import type { Target } from '../../decoder.js';
import type { GraphBuilder } from '../../onnx/builder.js';
import { MICROSOFT } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { concat, lastOf, reshape, sizeOf } from '../shapes.js';
import type { Masks } from './masks.js';

/** What a layer attends with. */
export interface Rows {
  /** [B, queryHeads, S, headDim] */
  query: string;
  /** [B, kvHeads, S, headDim] */
  key: string;
  value: string;
  /** [B, kvHeads, P, headDim] */
  past: { key: string; value: string };
  /** [1, queryHeads, 1, 1] */
  sink: string | undefined;
  masks: Masks;
  target: Target;
}

/** What a layer's attention gives. */
export interface Attended {
  /** [B, S, queryHeads * headDim] */
  readonly context: string;
  /** What each row received, [B, kvHeads, P + S], or nothing, where it is not asked for. */
  readonly attention: string;
  readonly peak: string;
}

/** Two score matrices, one softmax over both, two products; the past is not copied. Gives weights [B, kvHeads, queries, P + S] and context [B, S, queryHeads * headDim]. */
export function attendApart(
  builder: GraphBuilder,
  layer: AttentionLayer,
  rows: Rows,
): { weights: string; context: string } {
  const { index, queryHeads, kvHeads } = layer;
  const { key, value, past, masks } = rows;
  const query = grouped(builder, layer, rows.query);
  const products =
    rows.target === 'host'
      ? [past.key, key].map((each) => scores(builder, layer, query, each))
      : scoresOnGpu(builder, layer, query, { past: past.key, new: key });
  const bias = masks.bias(builder, layer);
  const weights = softmaxed(builder, layer, rows, concat(builder, products, -1), bias, masks.newTokens);
  const slots = sizeOf(builder, past.key, 2);
  const [pastWeights = '', newWeights = ''] = builder.ops(
    'Split',
    [weights, concat(builder, [slots, masks.newTokens], 0)],
    { attributes: { axis: -1 }, outputs: 2 },
  );
  const context = builder.op('Add', [
    builder.op('MatMul', [pastWeights, past.value]),
    builder.op('MatMul', [newWeights, value]),
  ]);
  const perHead =
    queryHeads === kvHeads
      ? context
      : reshape(builder, context, `context_shape.${index}`, [0, queryHeads, -1, layer.headDim]);
  const turned = builder.op('Transpose', [perHead], { attributes: { perm: [0, 2, 1, 3] } });
  return {
    weights,
    context: reshape(builder, turned, `rows_shape.${index}`, [0, 0, queryHeads * layer.headDim]),
  };
}

/** What the last new queries attend to, [B, kvHeads, queries, P + S]. @param count how many, int64 [1] */
export function lastWeights(builder: GraphBuilder, layer: AttentionLayer, rows: Rows, count: string): string {
  const { key, past, masks } = rows;
  const query = grouped(builder, layer, lastOf(builder, rows.query, count, 2));
  const keys = concat(builder, [past.key, key], 2);
  const bias = masks.bias(builder, layer, count);
  return softmaxed(builder, layer, rows, scores(builder, layer, query, keys), bias, count);
}

/** What one new token attends to where its row is among the keys [B, kvHeads, P, headDim]: [B, kvHeads, queries, P]. */
export function pastWeights(
  builder: GraphBuilder,
  layer: AttentionLayer,
  rows: Pick<Rows, 'query' | 'sink' | 'masks'>,
  keys: string,
): string {
  const scores = scoresOfPast(
    builder,
    layer,
    scaled(builder, layer, grouped(builder, layer, rows.query)),
    keys,
  );
  const { masks } = rows;
  return softmaxed(builder, layer, rows, scores, masks.inPlace(builder, layer), masks.newTokens);
}

/** [B, kvHeads, queries, headDim] with queries = (queryHeads / kvHeads) * S. */
function grouped(
  builder: GraphBuilder,
  { index, queryHeads, kvHeads, headDim }: AttentionLayer,
  query: string,
): string {
  if (queryHeads === kvHeads) return query;
  return reshape(builder, query, `group_shape.${index}`, [0, kvHeads, -1, headDim]);
}

function scores(builder: GraphBuilder, layer: AttentionLayer, query: string, keys: string): string {
  const { scale } = layer;
  const products = builder.op('FusedMatMul', [query, keys], {
    domain: MICROSOFT,
    attributes: { transB: 1, alpha: { float: scale } },
  });
  return softcapped(builder, layer, products);
}

/** In products that have a kernel there. */
function scoresOnGpu(
  builder: GraphBuilder,
  layer: AttentionLayer,
  query: string,
  keys: { past: string; new: string },
): string[] {
  const queries = scaled(builder, layer, query);
  const ofNew = builder.op('MatMul', [queries, turned(builder, keys.new)]);
  return [scoresOfPast(builder, layer, queries, keys.past), softcapped(builder, layer, ofNew)];
}

/** The scores are turned and not the keys: in a step they are far smaller. */
function scoresOfPast(builder: GraphBuilder, layer: AttentionLayer, queries: string, keys: string): string {
  const products = builder.op('MatMul', [keys, turned(builder, queries)]);
  return softcapped(builder, layer, turned(builder, products));
}

function scaled(builder: GraphBuilder, { index, scale }: AttentionLayer, query: string): string {
  return builder.op('Mul', [query, builder.float32(`scale.${index}`, [], [scale])]);
}

function turned(builder: GraphBuilder, name: string): string {
  return builder.op('Transpose', [name], { attributes: { perm: [0, 1, 3, 2] } });
}

function softcapped(builder: GraphBuilder, { index, softcap }: AttentionLayer, products: string): string {
  if (softcap === 0) return products;
  const cap = builder.float32(`softcap.${index}`, [], [softcap]);
  return builder.op('Mul', [builder.op('Tanh', [builder.op('Div', [products, cap])]), cap]);
}

/**
 * The softmax of scores [B, kvHeads, queries, T] and their bias [B, H, S, T]; a sink takes its share as one more column, cut off again.
 * @param count S, int64 [1]
 */
function softmaxed(
  builder: GraphBuilder,
  { index, queryHeads, kvHeads }: AttentionLayer,
  { sink, masks }: Pick<Rows, 'sink' | 'masks'>,
  scores: string,
  bias: string,
  count: string,
): string {
  // The bias is the same for every query head of a key head, and these are rows of one matrix.
  const group = queryHeads / kvHeads;
  const split = (name: string) =>
    group === 1 ? name : builder.op('Reshape', [name, masks.splitShape(kvHeads, group, count)]);
  const joined = (name: string) =>
    group === 1 ? name : builder.op('Reshape', [name, masks.joinedShape(kvHeads, group, count)]);
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
