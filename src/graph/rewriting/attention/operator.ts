import type { GraphBuilder } from '../../onnx/builder.js';
import { MICROSOFT } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { concat, reshape, sizeOf } from '../shapes.js';

/** What com.microsoft.GroupQueryAttention takes. */
export interface Operands {
  /** Queries, keys and values [B, S, heads * headDim], then past keys and values [B, kvHeads, P, headDim]. */
  readonly rows: readonly string[];
  /** int32 [B] tokens of each sequence, its last left out; int32 [1] those of the longest. */
  readonly lengths: readonly string[];
  /** [queryHeads] */
  readonly sink: string | undefined;
  /** [B, 1 or queryHeads, S, T] */
  readonly bias?: string | undefined;
}

/** Value of `qk_output`: the operator's scores as they are after the softmax. */
const AFTER_SOFTMAX = 2;

/** com.microsoft.GroupQueryAttention over rotated queries and keys. @returns context, present keys and values, and weights [B, queryHeads, S, T] where they are wanted */
export function groupQueryAttention(
  builder: GraphBuilder,
  { queryHeads, kvHeads, scale, softcap }: AttentionLayer,
  { rows, lengths, bias, sink }: Operands,
  outputs: number | readonly string[],
): string[] {
  const nothing = '';
  const weights = outputs === 4;
  return builder.ops('GroupQueryAttention', [...rows, ...lengths, nothing, nothing, nothing, bias, sink], {
    domain: MICROSOFT,
    attributes: {
      num_heads: queryHeads,
      kv_num_heads: kvHeads,
      scale: { float: scale },
      ...(softcap > 0 && { softcap: { float: softcap } }),
      ...(weights && { qk_output: AFTER_SOFTMAX }),
    },
    outputs,
  });
}

/** A sink [1, queryHeads, 1, 1] as the operator takes it. */
export function sinkByHead(builder: GraphBuilder, { index }: AttentionLayer, sink: string | undefined) {
  return sink && reshape(builder, sink, `head_sink_shape.${index}`, [-1]);
}

/** A bias [B, H, S, T] of one head or of all key heads, as of one or of all query heads. */
export function biasPerHead(
  builder: GraphBuilder,
  { index, queryHeads, kvHeads }: AttentionLayer,
  bias: string,
) {
  if (queryHeads === kvHeads) return bias;
  const group = queryHeads / kvHeads;
  if (kvHeads === 1) return bias;
  const number = (hint: string, value: number) => builder.int64(`${hint}.${index}`, [1], [value]);
  const [one, axis] = [number('one', 1), number('group_axis', 2)];
  const heads = sizeOf(builder, bias, 1);
  const times = builder.op('Where', [builder.op('Equal', [heads, one]), one, number('group_size', group)]);
  const repeated = builder.op('Expand', [
    builder.op('Unsqueeze', [bias, axis]),
    concat(builder, [one, one, times, one, one], 0),
  ]);
  const all = concat(
    builder,
    [number('batch', 0), number('all_heads', -1), sizeOf(builder, bias, 2), sizeOf(builder, bias, 3)],
    0,
  );
  return builder.op('Reshape', [repeated, all]);
}
