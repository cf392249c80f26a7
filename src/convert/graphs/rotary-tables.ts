import type { Rotary } from '../checkpoint/text-spec.js';

/** Cosines and sines [positions, headDim / 2] of the rotary embedding, angles rounded to float32 where transformers' are. */
export function rotaryTables(
  positions: number,
  headDim: number,
  rotary: Rotary,
): { cosines: Float32Array; sines: Float32Array } {
  const half = headDim / 2;
  const frequencies = Float32Array.from({ length: half }, (_, j) =>
    stretched(rotary.theta ** ((-2 * j) / headDim), rotary.stretch),
  );
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

/** Slow frequencies divided by the factor, fast ones as they are, and a blend of both in between (transformers' `llama3`). */
function stretched(frequency: number, stretch: Rotary['stretch']): number {
  if (!stretch) return frequency;
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, trained } = stretch;
  const turns = (trained * frequency) / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return kept * frequency + ((1 - kept) * frequency) / factor;
}
