import { fromHalf } from '../../src/half-floats.js';

/** Float32 numbers as IEEE half precision bit patterns, rounded to nearest; Node 20 has no Float16Array. */
export const Float16Array = {
  from(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
    return Uint16Array.from(values, toHalf);
  },
  /** @param halves bit patterns, or numbers where Node has a Float16Array */
  toFloat32(halves: ArrayLike<number>): Float32Array {
    return halves instanceof Uint16Array ? Float32Array.from(halves, fromHalf) : Float32Array.from(halves);
  },
};

function toHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === 0) return sign;
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  // A fraction that rounds up to 1024 carries into the exponent by itself.
  const scaled = Math.round((size / 2 ** exponent) * 1024);
  return sign | (scaled < 1024 ? scaled : ((exponent + 14) << 10) + scaled);
}
