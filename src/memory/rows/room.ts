import type { BlockShape } from './block-shape.js';
import { formatOf, type Rows } from './formats.js';

/** Memory for keys or values of a block. */

/** So many rows of zeros. */
export function noRows({ headDim, format }: Pick<BlockShape, 'headDim' | 'format'>, rows: number): Rows {
  const { allocate, scaled } = formatOf(format);
  return { numbers: allocate(rows * headDim), ...(scaled && { scales: new Float32Array(rows) }) };
}

/** The same rows in memory for `capacity` of each head, in one piece. */
export function reserved(
  rows: Rows,
  { lanes, kvHeads, headDim, format }: BlockShape,
  capacity: number,
): Rows {
  const { bytes, allocate, over } = formatOf(format);
  const length = lanes * kvHeads * capacity * headDim;
  if (rows.numbers.buffer.byteLength >= length * bytes) return rows;
  const buffer = allocate(length);
  buffer.set(rows.numbers as never);
  return { ...rows, numbers: over(buffer.buffer, rows.numbers.length) };
}

/** The rows of all heads, `before` of each, at their places among `capacity`: in the same memory where it was reserved, else in new. */
export function widened(
  { numbers: from, scales }: Rows,
  { lanes, kvHeads, headDim, format }: BlockShape,
  before: number,
  capacity: number,
): Rows {
  const { bytes, allocate, over } = formatOf(format);
  const length = lanes * kvHeads * capacity * headDim;
  const inPlace = from.buffer.byteLength >= length * bytes;
  const to = inPlace ? over(from.buffer, length) : allocate(length);
  const width = before * headDim;
  // The last head first, so that none is written over before it has moved.
  for (let head = lanes * kvHeads - 1; head >= 0; head--) {
    const start = head * width;
    if (inPlace) to.copyWithin(head * capacity * headDim, start, start + width);
    else to.set(from.subarray(start, start + width) as never, head * capacity * headDim);
  }
  if (!scales) return { numbers: to };
  const wider = new Float32Array(lanes * kvHeads * capacity);
  for (let head = 0; head < lanes * kvHeads; head++) {
    wider.set(scales.subarray(head * before, (head + 1) * before), head * capacity);
  }
  return { numbers: to, scales: wider };
}
