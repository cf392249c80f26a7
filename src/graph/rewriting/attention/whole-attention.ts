import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { concat, reshape, sizeOf } from '../shapes.js';
import { type Attended, lastWeights, type Rows } from './attending.js';
import { biasPerHead, groupQueryAttention, type Operands, sinkByHead } from './operator.js';
import { contextShape } from './outputs.js';
import { receivedFrom, whereAsked } from './received.js';

/** Whether com.microsoft.GroupQueryAttention takes heads of this size. */
export function wholeTakes({ headDim }: AttentionLayer): boolean {
  return headDim % 8 === 0;
}

/**
 * Many new tokens, by com.microsoft.GroupQueryAttention: rotated queries and keys go in, and what it makes of past and new keys together is let go.
 *
 * Weights are only taken from it where all queries are asked for; those of the last few are computed once more beside it.
 */
export function attendWhole(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Attended {
  const { masks } = rows;
  const operands = operandsOf(builder, layer, rows);
  const last = (inner: GraphBuilder, queries: string, as: 'sum' | 'peak') =>
    receivedFrom(inner, layer, rows, lastWeights(inner, layer, rows, queries), queries, { queries, as });
  const branch = (name: string, make: (inner: GraphBuilder) => readonly [string, string]) => {
    const inner = builder.branch(`${name}.${layer.index}`);
    const [context, attention] = make(inner);
    inner.output(context, DataType.FLOAT, contextShape(layer));
    inner.output(attention, DataType.FLOAT, ['batch_size', layer.kvHeads, `given.${layer.index}`]);
    return { graph: inner.graph };
  };
  const { attentionQueries, peakQueries, newTokens } = masks;
  const [context = '', attention = ''] = builder.ops(
    'If',
    [builder.op('Equal', [attentionQueries, newTokens])],
    {
      attributes: {
        then_branch: branch('every_query', (inner) => {
          const bias = biasPerHead(inner, layer, masks.bias(inner, layer));
          const [context = '', , , weights = ''] = groupQueryAttention(
            inner,
            layer,
            { ...operands, bias },
            4,
          );
          const all = { queries: newTokens, as: 'sum' } as const;
          return [
            context,
            receivedFrom(inner, layer, rows, byKeyHead(inner, layer, weights), newTokens, all),
          ];
        }),
        else_branch: branch('last_queries', (inner) => [
          contextOf(inner, layer, rows, operands),
          whereAsked(inner, layer, attentionQueries, (within) => last(within, attentionQueries, 'sum'))[0]!,
        ]),
      },
      outputs: 2,
    },
  );
  const [peak = ''] = whereAsked(builder, layer, peakQueries, (within) => last(within, peakQueries, 'peak'));
  return { context, attention, peak };
}

/** Weights [B, queryHeads, S, T] as [B, kvHeads, queries, T]: the query heads of a key head follow each other. */
function byKeyHead(builder: GraphBuilder, { index, queryHeads, kvHeads }: AttentionLayer, weights: string) {
  if (queryHeads === kvHeads) return weights;
  const last = builder.op('Gather', [
    builder.op('Shape', [weights]),
    builder.int64(`weights_axis.${index}`, [1], [3]),
  ]);
  const first = builder.int64(`weights_shape.${index}`, [3], [0, kvHeads, -1]);
  return builder.op('Reshape', [weights, concat(builder, [first, last], 0)]);
}

/** Adding biases costs a pass over all scores, and most prompts have none: entries have them once others were merged into them. */
function contextOf(
  builder: GraphBuilder,
  layer: AttentionLayer,
  { masks }: Rows,
  operands: Operands,
): string {
  const attended = (within: GraphBuilder, bias?: string) =>
    groupQueryAttention(within, layer, { ...operands, bias }, 3)[0]!;
  const biased = (within: GraphBuilder) =>
    attended(within, biasPerHead(within, layer, masks.bias(within, layer)));
  if (layer.window !== undefined) return biased(builder);
  const { index } = layer;
  const branch = (name: string, make: (inner: GraphBuilder) => string) => {
    const inner = builder.branch(`${name}.${index}`);
    inner.output(make(inner), DataType.FLOAT, contextShape(layer));
    return { graph: inner.graph };
  };
  const sum = builder.op('ReduceSum', [builder.op('Abs', [masks.past(layer)])], {
    attributes: { keepdims: 0 },
  });
  return builder.op('If', [builder.op('Equal', [sum, builder.float32(`no_bias.${index}`, [], [0])])], {
    attributes: {
      then_branch: branch('plain', (inner) => attended(inner)),
      else_branch: branch('biased', biased),
    },
  });
}

function operandsOf(builder: GraphBuilder, layer: AttentionLayer, rows: Rows): Operands {
  const { index, queryHeads, kvHeads, headDim } = layer;
  const flat = (name: string, heads: number) =>
    reshape(
      builder,
      builder.op('Transpose', [name], { attributes: { perm: [0, 2, 1, 3] } }),
      `flat_shape.${index}`,
      [0, 0, heads * headDim],
    );
  const total = builder.op(
    'Cast',
    [builder.op('Add', [sizeOf(builder, rows.past.key, 2), rows.masks.newTokens])],
    { attributes: { to: DataType.INT32 } },
  );
  const before = builder.op('Sub', [total, builder.int32(`one_token.${index}`, [1], [1])]);
  return {
    rows: [
      flat(rows.query, queryHeads),
      flat(rows.key, kvHeads),
      flat(rows.value, kvHeads),
      rows.past.key,
      rows.past.value,
    ],
    lengths: [builder.op('Expand', [before, sizeOf(builder, rows.key, 0)]), total],
    sink: sinkByHead(builder, layer, rows.sink),
  };
}
