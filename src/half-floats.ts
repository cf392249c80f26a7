/** Numbers of 16 bits and of 32: what JavaScript of Node 20 has no array for. */

let wide: Float32Array | undefined;

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The number of an IEEE 754 binary16, through a table of all 65,536. */
export function fromHalf(half: number): number {
  wide ??= Float32Array.from({ length: 1 << 16 }, (_, each) => numberOf(each));
  return wide[half]!;
}

/** Widens `count` halves to numbers. */
export function widen(
  from: Uint16Array,
  start: number,
  to: Float32Array | Float64Array,
  at: number,
  count: number,
): void {
  fromHalf(0);
  for (let i = 0; i < count; i++) to[at + i] = wide![from[start + i]!]!;
}

/** Rounds `count` numbers to the nearest halves, of two equally near to the even one; what is too large becomes infinite. */
export function narrow(
  from: Float32Array | Float64Array,
  start: number,
  to: Uint16Array,
  at: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) to[at + i] = toHalf(from[start + i]!);
}

/** The IEEE 754 binary16 nearest to a number. */
export function toHalf(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  // Half of the step below 2^-14 and the step from there on: what is cut off decides, and half goes to the even one.
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign;
  if (exponent < 113) {
    const mantissa = (magnitude & 0x7fffff) | 0x800000;
    return sign | rounded(mantissa, 126 - exponent);
  }
  const half = rounded(magnitude - 0x38000000, 13);
  return sign | Math.min(half, 0x7c00);
}

function rounded(value: number, drop: number): number {
  const kept = value >>> drop;
  const rest = value & ((1 << drop) - 1);
  const middle = 1 << (drop - 1);
  return rest > middle || (rest === middle && kept & 1) ? kept + 1 : kept;
}

function numberOf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 0x1f) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}
