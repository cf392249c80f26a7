import { attributeOf, intAttribute } from '../onnx/attributes.js';
import { DataType, type Node } from '../onnx/onnx.js';
import { tensorNumbers } from '../onnx/tensors.js';
import {
  array,
  axisOf,
  broadcast,
  broadcastDims,
  elementwise,
  type NumberArray,
  reshapedDims,
  sizeOf,
  strided,
  strides,
  transpose,
} from './arrays.js';

type Operator = (node: Node, inputs: readonly NumberArray[]) => NumberArray;

const INTEGERS = new Set<DataType>([
  DataType.BOOL,
  DataType.INT8,
  DataType.INT16,
  DataType.INT32,
  DataType.INT64,
  DataType.UINT8,
  DataType.UINT16,
  DataType.UINT32,
  DataType.UINT64,
]);

export function isInteger(type: DataType): boolean {
  return INTEGERS.has(type);
}

/** Operators whose inputs are repeated to one shape. */
export const BROADCASTS =
  /^(Add|Sub|Mul|Div|Mod|Pow|Max|Min|Where|Equal|Less|LessOrEqual|Greater|GreaterOrEqual|And|Or|Xor)$/;

const numeric =
  (of: (a: number, b: number) => number): Operator =>
  (_, inputs) =>
    elementwise(
      inputs,
      inputs.every((input) => input.integer),
      of,
    );
const logical =
  (of: (a: number, b: number) => boolean): Operator =>
  (_, inputs) =>
    elementwise(inputs, true, (a, b) => (of(a, b) ? 1 : 0));
const real =
  (of: (a: number) => number): Operator =>
  (_, inputs) =>
    elementwise(inputs, false, of);

/** ONNX's operators as masks, lengths, scales and repeated heads use them, by definition rather than by speed. */
export const OPERATORS: Readonly<Record<string, Operator>> = {
  Identity: (_, [x]) => x!,
  Dropout: (_, [x]) => x!,
  Add: numeric((a, b) => a + b),
  Sub: numeric((a, b) => a - b),
  Mul: numeric((a, b) => a * b),
  Max: numeric(Math.max),
  Min: numeric(Math.min),
  Pow: numeric((a, b) => a ** b),
  Neg: numeric((a) => -a),
  Abs: numeric(Math.abs),
  Div: (_, inputs) => {
    const integer = inputs.every((input) => input.integer);
    return elementwise(inputs, integer, (a, b) => (integer ? Math.trunc(a / b) : a / b));
  },
  Mod: numeric((a, b) => a - b * Math.floor(a / b)),
  Sqrt: real(Math.sqrt),
  Reciprocal: real((a) => 1 / a),
  Equal: logical((a, b) => a === b),
  Less: logical((a, b) => a < b),
  LessOrEqual: logical((a, b) => a <= b),
  Greater: logical((a, b) => a > b),
  GreaterOrEqual: logical((a, b) => a >= b),
  And: logical((a, b) => a !== 0 && b !== 0),
  Or: logical((a, b) => a !== 0 || b !== 0),
  Xor: logical((a, b) => (a !== 0) !== (b !== 0)),
  Not: logical((a) => a === 0),
  IsNaN: logical((a) => Number.isNaN(a)),
  Where: (_, inputs) =>
    elementwise(inputs, inputs[1]!.integer && inputs[2]!.integer, (condition, a, b) =>
      condition !== 0 ? a : b,
    ),
  Cast: (node, [x]) => {
    const to = intAttribute(node, 'to', DataType.FLOAT);
    if (to === DataType.BOOL) return elementwise([x!], true, (a) => (a !== 0 ? 1 : 0));
    return isInteger(to) ? elementwise([x!], true, Math.trunc) : { ...x!, integer: false };
  },
  Reshape: (node, [x, shape]) => ({
    ...x!,
    dims: reshapedDims(x!.dims, [...shape!.data], intAttribute(node, 'allowzero', 0) === 1),
  }),
  Flatten: (node, [x]) => {
    const axis = axisOf(intAttribute(node, 'axis', 1), x!.dims.length);
    return { ...x!, dims: [sizeOf(x!.dims.slice(0, axis)), sizeOf(x!.dims.slice(axis))] };
  },
  Unsqueeze: (node, [x, axes]) => ({ ...x!, dims: unsqueezed(x!.dims, listed(node, 'axes', axes)) }),
  Squeeze: (node, [x, axes]) => ({ ...x!, dims: squeezed(x!.dims, listed(node, 'axes', axes)) }),
  Expand: (_, [x, shape]) => broadcast(x!, broadcastDims(x!.dims, [...shape!.data])),
  Tile: (_, [x, repeats]) => {
    const doubled = x!.dims.flatMap((dim) => [1, dim]);
    const wide = x!.dims.flatMap((dim, i) => [repeats!.data[i]!, dim]);
    return {
      ...broadcast({ ...x!, dims: doubled }, wide),
      dims: x!.dims.map((dim, i) => dim * repeats!.data[i]!),
    };
  },
  Transpose: (node, [x]) => transpose(x!, permutation(node, x!.dims.length)),
  ConstantOfShape: (node, [shape]) => {
    const tensor = attributeOf(node, 'value')?.t;
    const fill = tensor ? tensorNumbers(tensor)?.[0] : 0;
    if (fill === undefined) throw new Error('the number it fills with is not in the model');
    const result = array([...shape!.data], tensor ? isInteger(tensor.dataType) : false);
    result.data.fill(fill);
    return result;
  },
  Range: (_, [start, limit, delta]) => {
    const [from, to, by] = [start!.data[0]!, limit!.data[0]!, delta!.data[0]!];
    const result = array([rangeLength(from, to, by)], start!.integer);
    for (let i = 0; i < result.data.length; i++) result.data[i] = from + i * by;
    return result;
  },
  Concat: (node, inputs) => concat(inputs, intAttribute(node, 'axis', 0)),
  Gather: (node, [x, indices]) => gather(x!, indices!, axisOf(intAttribute(node, 'axis', 0), x!.dims.length)),
  GatherND: (node, [x, indices]) => gatherNd(x!, indices!, intAttribute(node, 'batch_dims', 0)),
  Slice: (_, [x, starts, ends, axes, steps]) => slice(x!, starts!, ends!, axes, steps),
  Trilu: (node, [x, diagonal]) => {
    const upper = intAttribute(node, 'upper', 1) === 1;
    const k = diagonal?.data[0] ?? 0;
    const columns = x!.dims.at(-1)!;
    const rows = x!.dims.at(-2)!;
    const keeps = (i: number) => {
      const ahead = (i % columns) - (Math.floor(i / columns) % rows) - k;
      return upper ? ahead >= 0 : ahead <= 0;
    };
    return { ...x!, data: x!.data.map((value, i) => (keeps(i) ? value : 0)) };
  },
  CumSum: (_, [x, axis]) => {
    const at = axisOf(axis!.data[0]!, x!.dims.length);
    const step = strides(x!.dims)[at]!;
    const data = x!.data.slice();
    for (let i = 0; i < data.length; i++) {
      if (Math.floor(i / step) % x!.dims[at]! > 0) data[i]! += data[i - step]!;
    }
    return { ...x!, data };
  },
  ScatterND: (_, [x, indices, updates]) => {
    const depth = indices!.dims.at(-1)!;
    const step = strides(x!.dims);
    const run = sizeOf(x!.dims.slice(depth));
    const data = x!.data.slice();
    for (let i = 0; i * depth < indices!.data.length; i++) {
      let offset = 0;
      for (let axis = 0; axis < depth; axis++) {
        const index = indices!.data[i * depth + axis]!;
        offset += placeOf(index, x!.dims[axis]!) * step[axis]!;
      }
      data.set(updates!.data.subarray(i * run, (i + 1) * run), offset);
    }
    return { ...x!, data };
  },
};

/** How many numbers a Range makes. */
export function rangeLength(from: number, to: number, by: number): number {
  return Math.max(0, Math.ceil((to - from) / by));
}

/** The order in which a Transpose takes its axes. */
export function permutation(node: Node, rank: number): number[] {
  return attributeOf(node, 'perm')?.ints.map(Number) ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
}

function listed(node: Node, name: string, input: NumberArray | undefined): number[] {
  return input ? [...input.data] : (attributeOf(node, name)?.ints.map(Number) ?? []);
}

export function unsqueezed(dims: readonly number[], axes: readonly number[]): number[] {
  const rank = dims.length + axes.length;
  const added = new Set(axes.map((axis) => axisOf(axis, rank)));
  const rest = dims.values();
  return Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : rest.next().value!));
}

export function squeezed(dims: readonly number[], axes: readonly number[]): number[] {
  const dropped = new Set(axes.map((axis) => axisOf(axis, dims.length)));
  return dims.filter((dim, i) => (dropped.size > 0 ? !dropped.has(i) : dim !== 1));
}

function concat(inputs: readonly NumberArray[], given: number): NumberArray {
  const first = inputs[0]!;
  const axis = axisOf(given, first.dims.length);
  const dims = first.dims.slice();
  dims[axis] = inputs.reduce((sum, input) => sum + input.dims[axis]!, 0);
  const result = array(
    dims,
    inputs.every((input) => input.integer),
  );
  const outer = sizeOf(dims.slice(0, axis));
  let offset = 0;
  for (let i = 0; i < outer; i++) {
    for (const input of inputs) {
      const run = sizeOf(input.dims.slice(axis));
      result.data.set(input.data.subarray(i * run, (i + 1) * run), offset);
      offset += run;
    }
  }
  return result;
}

/** Where an index points to, which may count from the end. */
function placeOf(index: number, size: number): number {
  const place = index < 0 ? index + size : index;
  if (place >= 0 && place < size) return place;
  throw new RangeError(`the index ${index} is outside of the ${size} there are`);
}

function gather(x: NumberArray, indices: NumberArray, axis: number): NumberArray {
  const outer = sizeOf(x.dims.slice(0, axis));
  const run = sizeOf(x.dims.slice(axis + 1));
  const size = x.dims[axis]!;
  const result = array([...x.dims.slice(0, axis), ...indices.dims, ...x.dims.slice(axis + 1)], x.integer);
  for (let i = 0; i < outer; i++) {
    indices.data.forEach((index, j) => {
      const from = (i * size + placeOf(index, size)) * run;
      result.data.set(x.data.subarray(from, from + run), (i * indices.data.length + j) * run);
    });
  }
  return result;
}

function gatherNd(x: NumberArray, indices: NumberArray, batchDims: number): NumberArray {
  if (batchDims !== 0) throw new Error('its batch_dims are not 0');
  const depth = indices.dims.at(-1)!;
  const step = strides(x.dims);
  const run = sizeOf(x.dims.slice(depth));
  const result = array([...indices.dims.slice(0, -1), ...x.dims.slice(depth)], x.integer);
  for (let i = 0; i * depth < indices.data.length; i++) {
    let offset = 0;
    for (let axis = 0; axis < depth; axis++) {
      offset += placeOf(indices.data[i * depth + axis]!, x.dims[axis]!) * step[axis]!;
    }
    result.data.set(x.data.subarray(offset, offset + run), i * run);
  }
  return result;
}

function slice(
  x: NumberArray,
  starts: NumberArray,
  ends: NumberArray,
  axes?: NumberArray,
  steps?: NumberArray,
): NumberArray {
  const { dims, step, offset } = sliced(x.dims, starts.data, ends.data, axes?.data, steps?.data);
  return strided(x, dims, step, offset);
}

/** The dimensions of a Slice, and where in the whole its elements lie. */
export function sliced(
  whole: readonly number[],
  starts: ArrayLike<number>,
  ends: ArrayLike<number>,
  axes?: ArrayLike<number>,
  steps?: ArrayLike<number>,
): { dims: number[]; step: number[]; offset: number } {
  const dims = whole.slice();
  const step = strides(whole);
  let offset = 0;
  for (let i = 0; i < starts.length; i++) {
    const axis = axisOf(axes?.[i] ?? i, dims.length);
    const size = whole[axis]!;
    const by = steps?.[i] ?? 1;
    const clamp = (value: number, low: number, high: number) =>
      Math.min(Math.max(value < 0 ? value + size : value, low), high);
    const from = by > 0 ? clamp(starts[i]!, 0, size) : clamp(starts[i]!, 0, size - 1);
    const to = by > 0 ? clamp(ends[i]!, 0, size) : clamp(ends[i]!, -1, size - 1);
    dims[axis] = Math.max(0, Math.ceil((to - from) / by));
    offset += from * step[axis]!;
    step[axis]! *= by;
  }
  return { dims, step, offset };
}
