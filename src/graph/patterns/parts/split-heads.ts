import type { GraphBuilder } from '../../onnx/builder.js';

/** Turns rows [B, S, heads * headDim] into [B, heads, S, headDim]. */
export function splitHeads(
  builder: GraphBuilder,
  rows: string,
  layer: number,
  heads: number,
  headDim: number,
): string {
  const shape = builder.int64(`heads_shape.${layer}`, [4], [0, 0, heads, headDim]);
  return builder.op('Transpose', [builder.op('Reshape', [rows, shape])], {
    attributes: { perm: [0, 2, 1, 3] },
  });
}

/** Turns the heads of all rows, [B * heads, S, headDim], into [B, heads, S, headDim]. */
export function splitAllHeads(builder: GraphBuilder, all: string, layer: number, heads: number): string {
  const one = builder.op('Unsqueeze', [all, builder.int64(`first_axis.${layer}`, [1], [0])]);
  return builder.op('Reshape', [one, builder.int64(`all_heads_shape.${layer}`, [4], [-1, heads, 0, 0])]);
}
