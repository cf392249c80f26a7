import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { concat, reshape, sizeOf } from '../shapes.js';
import type { Attended } from './attending.js';

/** [B, S, queryHeads * headDim] */
export function contextShape({ queryHeads, headDim }: AttentionLayer) {
  return ['batch_size', 'sequence_length', queryHeads * headDim];
}

/** A branch that gives what a layer's attention gives, and more where there is more. */
export function branch(
  builder: GraphBuilder,
  name: string,
  layer: AttentionLayer,
  attend: (inner: GraphBuilder) => Attended,
  more: (inner: GraphBuilder) => void = () => {},
) {
  const { index, kvHeads } = layer;
  const inner = builder.branch(`${name}.${index}`);
  const { context, attention, peak } = attend(inner);
  inner.output(context, DataType.FLOAT, contextShape(layer));
  for (const given of [attention, peak])
    inner.output(given, DataType.FLOAT, ['batch_size', kvHeads, `given.${index}`]);
  more(inner);
  return { graph: inner.graph };
}

/** Has the rest of the graph go on with what a layer attended to. @param context [B, S, queryHeads * headDim] */
export function finish(builder: GraphBuilder, layer: AttentionLayer, context: string): void {
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
