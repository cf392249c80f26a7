import { widen } from '../../half-floats.js';

/** Widens bfloat16 (the upper half of a float32) to float32. */
export function decodeBFloat16(bits: Uint16Array, out: Float32Array): void {
  const wide = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
}

/** Widens IEEE 754 binary16 to float32. */
export function decodeFloat16(bits: Uint16Array, out: Float32Array): void {
  widen(bits, 0, out, 0, bits.length);
}
