/** Cosines and sines [positions, headDim / 2] of the rotary embedding, angles rounded to float32 where transformers' are. */
export function rotaryTables(
  positions: number,
  headDim: number,
  theta: number,
): { cosines: Float32Array; sines: Float32Array } {
  const half = headDim / 2;
  const frequencies = Float32Array.from({ length: half }, (_, j) => theta ** ((-2 * j) / headDim));
  const cosines = new Float32Array(positions * half);
  const sines = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let j = 0; j < half; j++) {
      const angle = Math.fround(position * frequencies[j]!);
      cosines[position * half + j] = Math.cos(angle);
      sines[position * half + j] = Math.sin(angle);
    }
  }
  return { cosines, sines };
}
