import type { GraphBuilder } from '../onnx/builder.js';
import type { DataType } from '../onnx/onnx.js';

export function concat(builder: GraphBuilder, names: readonly string[], axis: number): string {
  return builder.op('Concat', names, { attributes: { axis } });
}

export function reshape(builder: GraphBuilder, name: string, hint: string, shape: readonly number[]): string {
  return builder.op('Reshape', [name, builder.int64(hint, [shape.length], shape)]);
}

/** The size of one axis of a value, int64 [1]. */
export function sizeOf(builder: GraphBuilder, name: string, axis: number): string {
  return builder.op('Gather', [
    builder.op('Shape', [name]),
    builder.int64(`size_of_axis_${axis}`, [1], [axis]),
  ]);
}

/** The last rows along one axis. @param count how many, int64 [1], one at least */
export function lastOf(builder: GraphBuilder, name: string, count: string, axis: number): string {
  return builder.op('Slice', [
    name,
    builder.op('Neg', [count]),
    builder.int64('end_of_axis', [1], [Number.MAX_SAFE_INTEGER]),
    builder.int64(`last_of_axis_${axis}`, [1], [axis]),
  ]);
}

/** A value as another type; itself where it is of that. */
export function cast(builder: GraphBuilder, name: string, from: DataType, to: DataType): string {
  return from === to ? name : builder.op('Cast', [name], { attributes: { to } });
}
