import { narrow, widen } from '../../half-floats.js';

/** How a number of a key or value is held: as computed, in half precision, or as a whole number times a scale that each row of each head has. */
export const KV_FORMATS = ['float32', 'float16', 'int8'] as const;
export type KVFormat = (typeof KV_FORMATS)[number];

/** Numbers as they are held; float16 as bit patterns. */
export type Held = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Int8Array<ArrayBuffer>;
export type Numbers = Float32Array | Float64Array;

/** Largest whole number of an int8 row: its largest number, by magnitude. */
const LARGEST = 127;

interface Format {
  readonly bytes: number;
  /** Whether a row has a scale. */
  readonly scaled: boolean;
  allocate(length: number): Held;
  over(buffer: ArrayBuffer, length: number): Held;
}

const FORMATS: Record<KVFormat, Format> = {
  float32: {
    bytes: 4,
    scaled: false,
    allocate: (length) => new Float32Array(length),
    over: (buffer, length) => new Float32Array(buffer, 0, length),
  },
  float16: {
    bytes: 2,
    scaled: false,
    allocate: (length) => new Uint16Array(length),
    over: (buffer, length) => new Uint16Array(buffer, 0, length),
  },
  int8: {
    bytes: 1,
    scaled: true,
    allocate: (length) => new Int8Array(length),
    over: (buffer, length) => new Int8Array(buffer, 0, length),
  },
};

export function formatOf(name: KVFormat): Format {
  return FORMATS[name];
}

/** Bytes of the key and the value of one head. */
export function bytesPerHead(format: KVFormat, headDim: number): number {
  const { bytes, scaled } = FORMATS[format];
  return 2 * (headDim * bytes + (scaled ? Float32Array.BYTES_PER_ELEMENT : 0));
}

/** Keys or values: numbers in rows of headDim, and a scale for each row where the format has one. */
export interface Rows {
  readonly numbers: Held;
  readonly scales?: Float32Array<ArrayBuffer> | undefined;
}

/** Writes a row of `size` numbers into row `to`. */
export function encode(
  from: Numbers,
  start: number,
  size: number,
  { numbers, scales }: Rows,
  to: number,
): void {
  const at = to * size;
  if (numbers instanceof Float32Array) {
    for (let i = 0; i < size; i++) numbers[at + i] = from[start + i]!;
  } else if (numbers instanceof Uint16Array) {
    narrow(from, start, numbers, at, size);
  } else {
    let most = 0;
    for (let i = 0; i < size; i++) most = Math.max(most, Math.abs(from[start + i]!));
    const scale = Math.fround(most / LARGEST);
    scales![to] = scale;
    for (let i = 0; i < size; i++) numbers[at + i] = scale > 0 ? Math.round(from[start + i]! / scale) : 0;
  }
}

/** Writes `count` rows of `size` numbers, one after the other, into the rows from `to`. */
export function encodeRows(
  from: Float32Array,
  start: number,
  size: number,
  rows: Rows,
  to: number,
  count: number,
): void {
  if (rows.numbers instanceof Float32Array) {
    rows.numbers.set(from.subarray(start, start + count * size), to * size);
    return;
  }
  for (let row = 0; row < count; row++) encode(from, start + row * size, size, rows, to + row);
}

/** Reads row `from` into `to`, which begins at `start`. */
export function decode({ numbers, scales }: Rows, from: number, size: number, to: Numbers, start = 0): void {
  const at = from * size;
  if (numbers instanceof Uint16Array) {
    widen(numbers, at, to, start, size);
  } else {
    const scale = scales?.[from] ?? 1;
    for (let i = 0; i < size; i++) to[start + i] = numbers[at + i]! * scale;
  }
}
