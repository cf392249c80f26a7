import { ElasticCacheError } from '../../errors.js';
import { fromHalf } from '../../half-floats.js';
import { createTensor, DataLocation, DataType, type Tensor } from './onnx.js';

const BYTES_PER_ELEMENT: Partial<Record<DataType, number>> = {
  [DataType.FLOAT]: 4,
  [DataType.UINT8]: 1,
  [DataType.INT8]: 1,
  [DataType.UINT16]: 2,
  [DataType.INT16]: 2,
  [DataType.INT32]: 4,
  [DataType.INT64]: 8,
  [DataType.BOOL]: 1,
  [DataType.FLOAT16]: 2,
  [DataType.DOUBLE]: 8,
  [DataType.UINT32]: 4,
  [DataType.UINT64]: 8,
  [DataType.BFLOAT16]: 2,
};

/** Where the bytes of a tensor lie: a file named relative to the model, and the place inside it in bytes. */
export interface ExternalData {
  location: string;
  offset: number;
  length: number;
}

/**
 * A tensor from the little-endian bytes of its elements, row-major.
 * @throws ElasticCacheError 'invalid-shape' when the bytes do not fill `dims`.
 */
export function rawTensor(
  name: string,
  dataType: DataType,
  dims: readonly number[],
  bytes: Uint8Array,
): Tensor {
  const width = BYTES_PER_ELEMENT[dataType];
  const expected = width === undefined ? undefined : width * elementCount(dims);
  if (expected !== undefined && expected !== bytes.length) {
    throw new ElasticCacheError(
      'invalid-shape',
      `Tensor "${name}" of shape [${dims.join(', ')}] takes ${expected} bytes of ${DataType[dataType]}, got ${bytes.length}.`,
    );
  }
  return createTensor({ name, dataType, dims: dims.map(BigInt), rawData: bytes });
}

export function float32Tensor(name: string, dims: readonly number[], values: ArrayLike<number>): Tensor {
  const data = values instanceof Float32Array ? values : Float32Array.from(values);
  return rawTensor(name, DataType.FLOAT, dims, bytesOf(data));
}

export function int64Tensor(name: string, dims: readonly number[], values: ArrayLike<number>): Tensor {
  return rawTensor(name, DataType.INT64, dims, bytesOf(BigInt64Array.from(Array.from(values), BigInt)));
}

export function int32Tensor(name: string, dims: readonly number[], values: ArrayLike<number>): Tensor {
  return rawTensor(name, DataType.INT32, dims, bytesOf(Int32Array.from(values)));
}

export function uint8Tensor(name: string, dims: readonly number[], values: Uint8Array): Tensor {
  return rawTensor(name, DataType.UINT8, dims, values);
}

/** A tensor whose bytes stay in another file. */
export function externalTensor(
  name: string,
  dataType: DataType,
  dims: readonly number[],
  data: ExternalData,
): Tensor {
  return createTensor({
    name,
    dataType,
    dims: dims.map(BigInt),
    dataLocation: DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: data.location },
      { key: 'offset', value: String(data.offset) },
      { key: 'length', value: String(data.length) },
    ],
  });
}

/** Where an external tensor lies, undefined when its bytes are in the model. A missing offset is 0, a missing length -1. */
export function externalDataOf(tensor: Tensor): ExternalData | undefined {
  if (tensor.dataLocation !== DataLocation.EXTERNAL) return undefined;
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  return {
    location: entries.get('location') ?? '',
    offset: Number(entries.get('offset') ?? 0),
    length: Number(entries.get('length') ?? -1),
  };
}

export function dimsOf(tensor: Tensor): number[] {
  return tensor.dims.map(Number);
}

/** The elements of a small tensor as numbers; undefined when it is external, of a type that has none here, or damaged. */
export function tensorNumbers(tensor: Tensor): number[] | undefined {
  const at = numberAt(tensor);
  return at && Array.from({ length: elementCount(dimsOf(tensor)) }, (_, i) => at(i));
}

/** What reads single elements of a tensor as numbers, by their place in row-major order; undefined as for `tensorNumbers`. */
export function numberAt(tensor: Tensor): ((i: number) => number) | undefined {
  const stored = storedNumbers(tensor);
  // A damaged tensor may hold any number of elements beside the shape it declares.
  return stored?.count === elementCount(dimsOf(tensor)) ? stored.at : undefined;
}

function storedNumbers(tensor: Tensor): { count: number; at: (i: number) => number } | undefined {
  const { dataType, dataLocation, floatData, int64Data, int32Data, rawData: raw } = tensor;
  if (dataLocation === DataLocation.EXTERNAL) return undefined;
  const bits = FROM_BITS[dataType];
  if (floatData.length > 0) return { count: floatData.length, at: (i) => floatData[i]! };
  if (int64Data.length > 0) return { count: int64Data.length, at: (i) => Number(int64Data[i]) };
  if (int32Data.length > 0)
    return { count: int32Data.length, at: (i) => (bits ? bits(int32Data[i]!) : int32Data[i]!) };
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const width = BYTES_PER_ELEMENT[dataType as DataType];
  const at = readerOf(view, dataType);
  return at && width ? { count: raw.length / width, at: (i) => at(i * width) } : undefined;
}

function readerOf(view: DataView, type: DataType): ((offset: number) => number) | undefined {
  switch (type) {
    case DataType.FLOAT:
      return (offset) => view.getFloat32(offset, true);
    case DataType.DOUBLE:
      return (offset) => view.getFloat64(offset, true);
    case DataType.INT64:
      return (offset) => Number(view.getBigInt64(offset, true));
    case DataType.INT32:
      return (offset) => view.getInt32(offset, true);
    case DataType.UINT8:
    case DataType.BOOL:
      return (offset) => view.getUint8(offset);
    case DataType.FLOAT16:
    case DataType.BFLOAT16:
      return (offset) => FROM_BITS[type]!(view.getUint16(offset, true));
    case DataType.INT8:
      return (offset) => view.getInt8(offset);
    default:
      return undefined;
  }
}

/** The upper half of the bits of a float32. */
function fromBrainFloat(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint16(0, bits);
  return view.getFloat32(0);
}

/** Types whose elements are given as bit patterns. */
const FROM_BITS: Readonly<Record<number, (bits: number) => number>> = {
  [DataType.FLOAT16]: fromHalf,
  [DataType.BFLOAT16]: fromBrainFloat,
};

/** How many elements a tensor of this shape has. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1);
}

/** The bytes of typed numbers, uncopied. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
