import { fromHalf } from '../../graph/onnx/tensors.js';

/** Widens bfloat16 (the upper half of a float32) to float32. */
export function decodeBFloat16(bits: Uint16Array, out: Float32Array): void {
  const wide = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
}

let float16Table: Float32Array | undefined;

/** Widens IEEE 754 binary16 to float32, through a table of all 65,536 values. */
export function decodeFloat16(bits: Uint16Array, out: Float32Array): void {
  float16Table ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => fromHalf(bits));
  for (let i = 0; i < bits.length; i++) out[i] = float16Table[bits[i]!]!;
}
