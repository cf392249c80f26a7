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
      // Cutting the fraction off rounds what is not negative, half a step further up; Math.round takes nearly twice as long.
      for (let c = 0; c < count; c++) out[c * rows + row] = ((values[from + c]! * factor + 128.5) | 0) - 128;
    }
    yield bytesOf(out);
  }
}

export interface Int4Blocks {
  /** [rows, blocks, blockSize / 2]: two 4-bit numbers a byte, the first in the low half. */
  readonly data: Uint8Array;
  /** [rows, blocks] */
  readonly scales: Float32Array;
  /** [rows, blocks / 2, rounded up]: two 4-bit numbers a byte, the levels that mean zero; all 8 where blocks are symmetric. */
  readonly zeros: Uint8Array;
}

/** How a block is rounded: `value = (level - zero) x scale`, with whole levels from 0 to 15. */
interface Rounding {
  readonly scale: number;
  readonly zero: number;
}

/** The value of largest magnitude becomes level 0 exactly, so that all sixteen levels are used. */
function symmetric(least: number, most: number): Rounding {
  return { scale: (most >= -least ? most : least) / -8, zero: 8 };
}

/** From the least value to the largest, and 0 among the levels. */
function withZeroPoint(least: number, most: number): Rounding {
  const scale = (most - least) / 15;
  return { scale, zero: scale > 0 ? Math.round(-least / scale) : 8 };
}

/** A matrix [rows, columns] in blocks of 4-bit numbers along the columns, as com.microsoft.MatMulNBits reads them. */
export function int4Blocks(
  values: Float32Array,
  rows: number,
  columns: number,
  { blockSize, asymmetric }: { readonly blockSize: number; readonly asymmetric: boolean },
): Int4Blocks {
  const blocks = Math.ceil(columns / blockSize);
  const data = new Uint8Array((rows * blocks * blockSize) / 2);
  const scales = new Float32Array(rows * blocks);
  const zeros = new Uint8Array(rows * Math.ceil(blocks / 2)).fill(0x88);
  const roundingOf = asymmetric ? withZeroPoint : symmetric;
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      const from = row * columns + block * blockSize;
      const count = Math.min(blockSize, columns - block * blockSize);
      let [least, most] = [0, 0];
      for (let i = from; i < from + count; i++) {
        const value = values[i]!;
        if (value > most) most = value;
        else if (value < least) least = value;
      }
      const { scale, zero } = roundingOf(least, most);
      const at = row * blocks + block;
      scales[at] = scale;
      if (asymmetric) setNibble(zeros, row * Math.ceil(blocks / 2) * 2 + block, zero);
      const factor = scale === 0 ? 0 : 1 / scale;
      const first = (at * blockSize) >> 1;
      const end = from + count;
      const middle = zero + 0.5;
      for (let i = from, byte = first; i < end; i += 2, byte++) {
        // Cutting the fraction off rounds, half a step further up, what is not negative.
        const low = (values[i]! * factor + middle) | 0;
        const high = i + 1 < end ? (values[i + 1]! * factor + middle) | 0 : zero;
        data[byte] = (low > 15 ? 15 : low) | ((high > 15 ? 15 : high) << 4);
      }
      data.fill(zero * 0x11, first + Math.ceil(count / 2), first + blockSize / 2);
    }
  }
  return { data, scales, zeros };
}

function setNibble(bytes: Uint8Array, index: number, value: number): void {
  const at = index >> 1;
  bytes[at] = index & 1 ? (bytes[at]! & 0x0f) | (value << 4) : (bytes[at]! & 0xf0) | value;
}
