import { Tensor } from '#platform/ort.js';
import type { Held, KVFormat } from '../memory/rows/formats.js';

/**
 * Positions [start, end) of the sequence axis of a tensor [..., S, ...], as a tensor of the same type.
 * Shares memory when nothing but size-1 axes stands before the sequence axis; copies otherwise.
 */
export function sliceSequence(tensor: Tensor, axis: number, start: number, end: number): Tensor {
  const length = tensor.dims[axis]!;
  if (start === 0 && end === length) return tensor;
  const inner = product(tensor.dims.slice(axis + 1));
  const outer = product(tensor.dims.slice(0, axis));
  const dims = tensor.dims.with(axis, end - start);
  const data = tensor.data as Float32Array | BigInt64Array;
  if (outer === 1) {
    return new Tensor(tensor.type, data.subarray(start * inner, end * inner), dims);
  }
  const part = new (data.constructor as Float32ArrayConstructor)(product(dims)) as typeof data;
  for (let row = 0; row < outer; row++) {
    const from = row * length * inner;
    const rows = data.subarray(from + start * inner, from + end * inner);
    (part as Float32Array).set(rows as Float32Array, row * (end - start) * inner);
  }
  return new Tensor(tensor.type, part, dims);
}

/**
 * The tensor as onnxruntime-node can read it, float16 as bit patterns. Where JavaScript has Float16Array (Node 24), ONNX Runtime's Tensor holds one
 * whatever it is made of, and its native part finds no bytes in it; transformers.js exchanges the data of its own tensors likewise.
 */
export function readable(tensor: Tensor): Tensor {
  if (tensor.type !== 'float16' || tensor.data instanceof Uint16Array) return tensor;
  const { buffer, byteOffset, length } = tensor.data as unknown as Uint16Array<ArrayBuffer>;
  return Object.assign(tensor, { cpuData: new Uint16Array(buffer, byteOffset, length) });
}

/** Tensors [B, S_j, V] of one type, one after the other along the sequence axis: [B, sum S_j, V]. */
export function concatSequence(parts: readonly Tensor[]): Tensor {
  const [first] = parts as [Tensor, ...Tensor[]];
  if (parts.length === 1) return first;
  const [batch, , width] = first.dims as [number, number, number];
  const length = parts.reduce((sum, part) => sum + part.dims[1]!, 0);
  // float16 comes as Uint16Array or, where there is one, as Float16Array.
  const data = new (first.data.constructor as Float32ArrayConstructor)(batch * length * width);
  let at = 0;
  for (let row = 0; row < batch; row++) {
    for (const part of parts) {
      const size = part.dims[1]! * width;
      data.set((part.data as Float32Array).subarray(row * size, (row + 1) * size), at);
      at += size;
    }
  }
  return new Tensor(first.type, data, [batch, length, width]);
}

/** Causal mask of the new tokens among themselves, [batch, 1, size, size]: 0 where query i may see key j <= i, else -Infinity. */
export function causalBias(batch: number, size: number): Tensor {
  const data = new Float32Array(batch * size * size);
  for (let query = 0; query < batch * size; query++) {
    data.fill(Number.NEGATIVE_INFINITY, query * size + (query % size) + 1, (query + 1) * size);
  }
  return new Tensor('float32', data, [batch, 1, size, size]);
}

function product(values: readonly number[]): number {
  return values.reduce((a, b) => a * b, 1);
}

/** The last numbers of each of `count` rows, without the first `columns`. Shares memory where that is all of them. */
export function withoutFirst(numbers: Float32Array, count: number, columns: number): Float32Array {
  if (columns === 0) return numbers;
  const width = numbers.length / count;
  const rest = new Float32Array(count * (width - columns));
  for (let row = 0; row < count; row++)
    rest.set(numbers.subarray(row * width + columns, (row + 1) * width), row * (width - columns));
  return rest;
}

/** Rows [batch, tokens, heads, headDim] as [batch, heads, tokens, headDim]; as they are where that makes no difference. */
export function byHead(rows: Float32Array, batch: number, tokens: number, heads: number): Float32Array {
  if (tokens === 1 || heads === 1) return rows;
  const turned = new Float32Array(rows.length);
  const headDim = rows.length / (batch * tokens * heads);
  let from = 0;
  for (let sequence = 0; sequence < batch; sequence++) {
    for (let token = 0; token < tokens; token++) {
      for (let head = 0; head < heads; head++, from += headDim)
        turned.set(
          rows.subarray(from, from + headDim),
          ((sequence * heads + head) * tokens + token) * headDim,
        );
    }
  }
  return turned;
}

/** Some tokens of one sequence of a tensor [.., B, S, ..] whose batch is at `axis`: [.., 1, tokens, ..]. Copies, unless it is all there is. */
export function gatherSequence(tensor: Tensor, axis: number, row: number, tokens: readonly number[]): Tensor {
  const [batch, length] = tensor.dims.slice(axis) as [number, number];
  if (batch === 1 && tokens.length === length) return tensor;
  const outer = product(tensor.dims.slice(0, axis));
  const inner = product(tensor.dims.slice(axis + 2));
  const data = tensor.data as Float32Array;
  const part = new (data.constructor as Float32ArrayConstructor)(outer * tokens.length * inner);
  for (let block = 0; block < outer; block++) {
    tokens.forEach((token, index) => {
      const from = ((block * batch + row) * length + token) * inner;
      part.set(data.subarray(from, from + inner), (block * tokens.length + index) * inner);
    });
  }
  const dims = [...tensor.dims.slice(0, axis), 1, tokens.length, ...tensor.dims.slice(axis + 2)];
  return new Tensor(tensor.type, part, dims);
}

/**
 * Tensors [1, n_j, V], one for each sequence, as one [B, length, V].
 * @param places [B] of [n_j] where along the sequence each goes; what nothing goes to is zero
 */
export function scatterRows(
  rows: readonly Tensor[],
  places: readonly (readonly number[])[],
  length: number,
): Tensor {
  const [first] = rows as [Tensor, ...Tensor[]];
  const width = first.dims[2]!;
  const data = new (first.data.constructor as Float32ArrayConstructor)(rows.length * length * width);
  rows.forEach((tensor, row) => {
    places[row]!.forEach((place, index) => {
      const own = (tensor.data as Float32Array).subarray(index * width, (index + 1) * width);
      data.set(own, (row * length + place) * width);
    });
  });
  return new Tensor(first.type, data, [rows.length, length, width]);
}

/** Tensors of one sequence each, [.., 1, ..] at `axis`, as one of all: [.., B, ..]. Shares memory where there is but one. */
export function stackSequences(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors as [Tensor, ...Tensor[]];
  if (tensors.length === 1) return first;
  const inner = product(first.dims.slice(axis + 1));
  const outer = product(first.dims.slice(0, axis));
  const data = new (first.data.constructor as Float32ArrayConstructor)(outer * tensors.length * inner);
  for (let block = 0; block < outer; block++) {
    tensors.forEach((tensor, row) => {
      const own = (tensor.data as Float32Array).subarray(block * inner, (block + 1) * inner);
      data.set(own, (block * tensors.length + row) * inner);
    });
  }
  return new Tensor(first.type, data, first.dims.with(axis, tensors.length));
}

/** Keys or values as they are held, as a tensor over the same memory. */
export function heldTensor(format: KVFormat, numbers: Held, dims: readonly number[]): Tensor {
  return readable(new Tensor(format, numbers, dims));
}
