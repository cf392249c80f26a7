import { ElasticCacheError } from '../../errors.js';
import { bytesOf } from '../../graph/onnx/tensors.js';
import { narrow } from '../../half-floats.js';

/** Columns of a matrix turned into rows at a time. */
const strip = 64;

/** The transpose of a matrix [rows, columns] as the bytes of [columns, rows], a strip at a time. */
export function* transposed(values: Float32Array, rows: number, columns: number): Generator<Uint8Array> {
  for (let start = 0; start < columns; start += strip) {
    const count = Math.min(strip, columns - start);
    const out = new Float32Array(count * rows);
    for (let row = 0; row < rows; row++) {
      const from = row * columns + start;
      for (let c = 0; c < count; c++) out[c * rows + row] = values[from + c]!;
    }
    yield bytesOf(out);
  }
}

/** The largest number of half precision, and half a step. */
const halfLimit = 65520;

/**
 * Bytes of float32 as bytes of half precision, a piece at a time.
 * @param name of the tensor, in messages.
 * @throws ElasticCacheError 'unsupported-model' when a number would become infinite.
 */
export function* halves(name: string, pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
  for (const { buffer, byteOffset, byteLength } of pieces) {
    const values = new Float32Array(buffer, byteOffset, byteLength / 4);
    const beyond = values.find((value) => Math.abs(value) >= halfLimit);
    if (beyond !== undefined) {
      throw new ElasticCacheError(
        'unsupported-model',
        `Tensor "${name}" holds ${beyond}, which is beyond half precision: choose fp32, q8 or q4.`,
      );
    }
    const out = new Uint16Array(values.length);
    narrow(values, 0, out, 0, values.length);
    yield bytesOf(out);
  }
}

/** Below it a float32 loses digits, and its inverse overflows. */
const smallestNormal = 2 ** -126;

/** Symmetric scales of a matrix [rows, columns], one per row: the largest magnitude becomes 127; 0 for a row of nothing. */
export function int8Scales(values: Float32Array, rows: number, columns: number): Float32Array {
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let largest = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++)
      largest = Math.max(largest, Math.abs(values[i]!));
    const scale = largest / 127;
    scales[row] = scale < smallestNormal ? 0 : scale;
  }
  return scales;
}

/** A matrix [rows, columns] in int8 by `scales` [rows], transposed to [columns, rows], a strip at a time. */
export function* int8Transposed(
  values: Float32Array,
  rows: number,
  columns: number,
  scales: Float32Array,
): Generator<Uint8Array> {
  const inverse = scales.map((scale) => (scale > 0 ? 1 / scale : 0));
  for (let start = 0; start < columns; start += strip) {
    const count = Math.min(strip, columns - start);
    const out = new Int8Array(count * rows);
    for (let row = 0; row < rows; row++) {
      const from = row * columns + start;
      const factor = inverse[row]!;
      for (let c = 0; c < count; c++) out[c * rows + row] = Math.round(values[from + c]! * factor);
    }
    yield bytesOf(out);
  }
}

export interface Int4Blocks {
  /** [rows, blocks, blockSize / 2]: two 4-bit numbers a byte, the first in the low half, 8 meaning zero. */
  readonly data: Uint8Array;
  /** [rows, blocks] */
  readonly scales: Float32Array;
}

/**
 * A matrix [rows, columns] in blocks of 4-bit numbers along the columns, as com.microsoft.MatMulNBits reads them.
 * Symmetric; the value of largest magnitude in a block becomes -8 exactly, so all sixteen levels are used.
 */
export function int4Blocks(
  values: Float32Array,
  rows: number,
  columns: number,
  blockSize: number,
): Int4Blocks {
  const blocks = Math.ceil(columns / blockSize);
  const data = new Uint8Array((rows * blocks * blockSize) / 2).fill(0x88);
  const scales = new Float32Array(rows * blocks);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      const from = row * columns + block * blockSize;
      const count = Math.min(blockSize, columns - block * blockSize);
      let extreme = 0;
      for (let i = 0; i < count; i++) {
        const value = values[from + i]!;
        if (Math.abs(value) > Math.abs(extreme)) extreme = value;
      }
      const at = row * blocks + block;
      scales[at] = extreme / -8;
      const factor = extreme === 0 ? 0 : -8 / extreme;
      for (let i = 0; i < count; i++) {
        const level = Math.min(15, Math.round(values[from + i]! * factor) + 8);
        const byte = (at * blockSize + i) >> 1;
        data[byte] = i & 1 ? (data[byte]! & 0x0f) | (level << 4) : (data[byte]! & 0xf0) | level;
      }
    }
  }
  return { data, scales };
}
