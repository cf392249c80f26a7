import { ElasticCacheError } from '../../errors.js';
import type { Rotary } from '../checkpoint/text/rotary.js';

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
  const length = rotary.scaling?.kind === 'yarn' ? rotary.scaling.length : 1;
  const cosines = new Float32Array(rows * half);
  const sines = new Float32Array(rows * half);
  for (const [stage, theta] of bases.entries()) {
    const kept = keptOf(theta, headDim, rotary.scaling);
    const frequencies = Float32Array.from({ length: half }, (_, j) => {
      const frequency = theta ** ((-2 * j) / headDim);
      return kept(j) * frequency + ((1 - kept(j)) * frequency) / (rotary.scaling?.factor ?? 1);
    });
    for (let position = 0; position < positions; position++) {
      const row = (stage * positions + position) * half;
      for (let j = 0; j < half; j++) {
        const angle = Math.fround(position * frequencies[j]!);
        cosines[row + j] = length * Math.cos(angle);
        sines[row + j] = length * Math.sin(angle);
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

/** How much of each frequency, by its place, is not divided by the factor: all of a fast one, nothing of a slow one, and a share in between. */
function keptOf(theta: number, headDim: number, scaling: Rotary['scaling']): (place: number) => number {
  if (!scaling) return () => 1;
  if (scaling.kind === 'linear') return () => 0;
  const share = (value: number) => Math.min(1, Math.max(0, value));
  if (scaling.kind === 'llama3') {
    const { lowFrequencyFactor: low, highFrequencyFactor: high, trained } = scaling;
    const turns = (place: number) => (trained * theta ** ((-2 * place) / headDim)) / (2 * Math.PI);
    return (place) => share((turns(place) - low) / (high - low));
  }
  const { fastTurns, slowTurns, rounded, trained } = scaling;
  // Where a frequency makes so many turns within the trained positions.
  const placeOf = (turns: number) =>
    (headDim * Math.log(trained / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [fast, slow] = [placeOf(fastTurns), placeOf(slowTurns)];
  const first = Math.max(rounded ? Math.floor(fast) : fast, 0);
  const last = Math.min(rounded ? Math.ceil(slow) : slow, headDim - 1);
  // As transformers has it where both are one.
  const width = last === first ? 0.001 : last - first;
  return (place) => 1 - share((place - first) / width);
}
