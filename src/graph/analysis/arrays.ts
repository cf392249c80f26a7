/** Numbers in row-major order: what the evaluator computes with. Booleans are 0 and 1. */
export interface NumberArray {
  dims: readonly number[];
  data: Float64Array;
  /** Whether the elements are integers or booleans, so that a division truncates. */
  integer: boolean;
}

/** More elements than any mask that is worth looking at; a damaged graph may ask for any size. */
const MOST_ELEMENTS = 2 ** 24;

/**
 * How many elements a shape has, however many: the shape of a long cache is worth knowing where its elements never are.
 * @throws RangeError where there is no such shape, another Error where its elements cannot be counted exactly
 */
export function sizeOf(dims: readonly number[]): number {
  const size = dims.reduce((product, dim) => product * dim, 1);
  if (!dims.every((dim) => Number.isInteger(dim) && dim >= 0)) {
    throw new RangeError(`the shape [${dims.join(', ')}] is not possible`);
  }
  if (size > Number.MAX_SAFE_INTEGER) throw tooLarge(dims);
  return size;
}

/** @throws as `sizeOf`, and an Error where there are more elements than are worth making */
export function array(dims: readonly number[], integer: boolean, fill?: ArrayLike<number>): NumberArray {
  const size = sizeOf(dims);
  if (size > MOST_ELEMENTS) throw tooLarge(dims);
  const data = new Float64Array(size);
  if (fill) data.set(fill);
  return { dims, data, integer };
}

function tooLarge(dims: readonly number[]): Error {
  return new Error(`the shape [${dims.join(', ')}] is too large`);
}

export function strides(dims: readonly number[]): number[] {
  const steps = new Array<number>(dims.length).fill(1);
  for (let i = dims.length - 2; i >= 0; i--) steps[i] = steps[i + 1]! * dims[i + 1]!;
  return steps;
}

export function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new RangeError(`the shapes [${a.join(', ')}] and [${b.join(', ')}] do not fit together`);
    }
    return x === 1 ? y : x;
  });
}

/** The elements of `source` at steps `step` [rank of dims] from `start`, as an array of `dims`. */
export function strided(
  source: NumberArray,
  dims: readonly number[],
  step: readonly number[],
  start = 0,
): NumberArray {
  const result = array(dims, source.integer);
  const at = new Array<number>(dims.length).fill(0);
  let offset = start;
  for (let i = 0; i < result.data.length; i++) {
    result.data[i] = source.data[offset]!;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      offset += step[axis]!;
      if (++at[axis]! < dims[axis]!) break;
      offset -= step[axis]! * dims[axis]!;
      at[axis] = 0;
    }
  }
  return result;
}

/** `source` repeated to `dims`, as ONNX and numpy broadcast. */
export function broadcast(source: NumberArray, dims: readonly number[]): NumberArray {
  if (source.dims.length === dims.length && source.dims.every((dim, i) => dim === dims[i])) return source;
  if (broadcastDims(source.dims, dims).join() !== dims.join()) {
    throw new RangeError(`the shape [${source.dims.join(', ')}] does not fit [${dims.join(', ')}]`);
  }
  return strided(source, dims, broadcastSteps(source.dims, dims));
}

/** The steps [rank of dims] at which the elements of an array of shape `own` lie where it is repeated to `dims`. */
export function broadcastSteps(own: readonly number[], dims: readonly number[]): number[] {
  const steps = strides(own);
  const lead = dims.length - own.length;
  return dims.map((_, i) => (i < lead || own[i - lead] === 1 ? 0 : steps[i - lead]!));
}

export function elementwise(
  inputs: readonly NumberArray[],
  integer: boolean,
  of: (...values: number[]) => number,
): NumberArray {
  const dims = inputs.map((input) => input.dims).reduce(broadcastDims);
  const spread = inputs.map((input) => broadcast(input, dims).data);
  const result = array(dims, integer);
  const [a = result.data, b, c] = spread;
  for (let i = 0; i < result.data.length; i++) result.data[i] = of(a[i]!, b?.[i] ?? 0, c?.[i] ?? 0);
  return result;
}

export function transpose(source: NumberArray, perm: readonly number[]): NumberArray {
  const own = strides(source.dims);
  return strided(
    source,
    perm.map((axis) => source.dims[axis]!),
    perm.map((axis) => own[axis]!),
  );
}

/** The dimensions that `shape` (0 keeps, -1 is what remains) makes of `dims`. */
export function reshapedDims(
  dims: readonly number[],
  shape: readonly number[],
  keepZeros: boolean,
): number[] {
  const result = shape.map((size, i) => (size === 0 && !keepZeros ? (dims[i] ?? 0) : size));
  const rest = result.indexOf(-1);
  if (rest >= 0) {
    const others = result.reduce((product, size, i) => (i === rest ? product : product * size), 1);
    result[rest] = others === 0 ? 0 : sizeOf(dims) / others;
  }
  if (sizeOf(result) !== sizeOf(dims))
    throw new RangeError(`[${dims.join(', ')}] is not [${result.join(', ')}]`);
  return result;
}

export function axisOf(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
