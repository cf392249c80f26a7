import { ElasticCacheError } from '../../errors.js';
import type { Rotary } from '../checkpoint/text/spec.js';

/** Cosines and sines [rows, headDim / 2]. */
export interface RotaryTables {
  readonly rows: number;
  readonly cosines: Float32Array;
  readonly sines: Float32Array;
}

/** Numbers in a table at most, which are four gigabytes in all for the two of keys and the two of queries: a million positions of heads of 128 are half of it. */
const MOST = 2 ** 27;

/**
 * Tables of the rotary embedding for keys, one behind the other where there are stages of `positions` each; angles are rounded to float32 where
 * transformers' are.
 * @throws ElasticCacheError 'unsupported-model' for more positions than there is a table for.
 */
export function rotaryTables(positions: number, headDim: number, rotary: Rotary): RotaryTables {
  const half = headDim / 2;
  const bases = thetas(headDim, rotary);
  const rows = positions * bases.length;
  if (rows * half > MOST) {
    throw new ElasticCacheError(
      'unsupported-model',
      `config.json has max_position_embeddings for ${positions} tokens, and ${Math.floor(MOST / half / bases.length)} are the most that this converter makes tables of angles for: make it smaller there.`,
    );
  }
  const cosines = new Float32Array(rows * half);
  const sines = new Float32Array(rows * half);
  for (const [stage, theta] of bases.entries()) {
    const frequencies = Float32Array.from({ length: half }, (_, j) =>
      stretched(theta ** ((-2 * j) / headDim), rotary.stretch),
    );
    for (let position = 0; position < positions; position++) {
      const row = (stage * positions + position) * half;
      for (let j = 0; j < half; j++) {
        const angle = Math.fround(position * frequencies[j]!);
        cosines[row + j] = Math.cos(angle);
        sines[row + j] = Math.sin(angle);
      }
    }
  }
  return { rows, cosines, sines };
}

/**
 * The same for queries, which log-n attention makes larger beyond the trained positions: a rotation of a longer vector is a longer
 * rotation.
 */
export function scaledTables(
  { rows, cosines, sines }: RotaryTables,
  positions: number,
  trained: number,
): RotaryTables {
  const half = cosines.length / rows;
  const factor = (i: number) =>
    Math.max(1, Math.log((Math.floor(i / half) % positions) + 1) / Math.log(trained));
  return {
    rows,
    cosines: cosines.map((value, i) => value * factor(i)),
    sines: sines.map((value, i) => value * factor(i)),
  };
}

/** The base of each stage: 2, 4, ... times the trained length stretch by 3, 7, ... (Qwen's `use_dynamic_ntk`). */
function thetas(headDim: number, { theta, stages = [0] }: Rotary): number[] {
  return stages.map((_, stage) => theta * (2 ** (stage + 1) - 1) ** (headDim / (headDim - 2)));
}

/** Slow frequencies divided by the factor, fast ones as they are, and a blend of both in between (transformers' `llama3`). */
function stretched(frequency: number, stretch: Rotary['stretch']): number {
  if (!stretch) return frequency;
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, trained } = stretch;
  const turns = (trained * frequency) / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return kept * frequency + ((1 - kept) * frequency) / factor;
}
