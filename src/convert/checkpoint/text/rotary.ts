import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';

/** How positions become angles. */
export interface Rotary {
  readonly theta: number;
  /** How frequencies are lowered for texts that are longer than those that the model was first trained on. */
  readonly scaling?: LinearScaling | LlamaScaling | YarnScaling;
  /** M-RoPE: how many of the frequencies turn by time, by row and by column. Positions are then [3, batch, tokens]. */
  readonly sections?: readonly number[];
  /** Qwen's first: positions that the model was first trained on, which what follows is measured by. */
  readonly trained?: number;
  /**
   * Dynamic NTK: a prompt, and all that comes after it, turns more slowly the longer the prompt is, in stages of these lengths. Each
   * has a table of its own, one behind the other.
   */
  readonly stages?: readonly number[];
  /** Whether queries beyond the trained positions grow with the logarithm of theirs. */
  readonly scalesQueries?: boolean;
}

/** All alike, by the factor: transformers' `linear`. */
export interface LinearScaling {
  readonly kind: 'linear';
  readonly factor: number;
}

/** The slow ones, as Llama 3.1 does: transformers' `llama3`. */
export interface LlamaScaling {
  readonly kind: 'llama3';
  readonly factor: number;
  readonly lowFrequencyFactor: number;
  readonly highFrequencyFactor: number;
  /** Positions that the model was first trained on. */
  readonly trained: number;
}

/** The slow ones, with queries and keys made longer (Peng et al. 2023, YaRN): transformers' `yarn`. */
export interface YarnScaling {
  readonly kind: 'yarn';
  readonly factor: number;
  /** Turns within the trained positions from which on a frequency stays, and up to which it is divided by all of the factor. */
  readonly fastTurns: number;
  readonly slowTurns: number;
  /** Whether the places of these among the frequencies are rounded outwards. */
  readonly rounded: boolean;
  readonly trained: number;
  /** By how much queries and keys are longer. */
  readonly length: number;
}

const size = z.number().int().positive();
const positive = z.number().positive();
/** What a config says of it, in two generations of names. */
export const rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: positive.optional(),
  factor: positive.nullish(),
  low_freq_factor: positive.optional(),
  high_freq_factor: positive.optional(),
  original_max_position_embeddings: size.optional(),
  beta_fast: positive.nullish(),
  beta_slow: positive.nullish(),
  truncate: z.boolean().nullish(),
  attention_factor: positive.nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
});

interface Given {
  readonly rope_theta: number;
  readonly rope_parameters?: z.infer<typeof rope> | null | undefined;
  readonly rope_scaling?: z.infer<typeof rope> | null | undefined;
  readonly max_position_embeddings: number;
}

/**
 * What a parsed config says of its rotation.
 * @throws ElasticCacheError 'unsupported-model' for a kind that there is no graph for
 */
export function rotaryOf(text: Given, where: string): Rotary {
  const given = text.rope_parameters ?? text.rope_scaling;
  const theta = given?.rope_theta ?? text.rope_theta;
  const type = given?.rope_type ?? given?.type ?? 'default';
  if (type === 'default') return { theta };
  const scaling = scalingOf(type, given!, text.max_position_embeddings);
  if (scaling) return { theta, scaling };
  const lacks = type in { linear: 1, llama3: 1, yarn: 1 } ? ' but lacks some of its factors' : '';
  throw new ElasticCacheError(
    'unsupported-model',
    `${where} asks for "${type}" rotary scaling${lacks}: only the unscaled kind ("default") and complete ones of "linear", "llama3" and "yarn" can be converted.`,
  );
}

/** Undefined for a kind that there is no graph for, or one without what it needs. */
function scalingOf(type: string, given: z.infer<typeof rope>, positions: number): Rotary['scaling'] {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = given;
  const { factor } = given;
  if (type === 'linear' && factor) return { kind: type, factor };
  if (type === 'llama3' && factor && low && high && original) {
    return { kind: type, factor, lowFrequencyFactor: low, highFrequencyFactor: high, trained: original };
  }
  if (type !== 'yarn' || !(factor || original)) return undefined;
  const trained = original ?? positions;
  const by = factor ?? positions / trained;
  const longer = (share: number) => (by <= 1 ? 1 : 0.1 * share * Math.log(by) + 1);
  const { mscale, mscale_all_dim: whole } = given;
  return {
    kind: type,
    factor: by,
    fastTurns: given.beta_fast ?? 32,
    slowTurns: given.beta_slow ?? 1,
    rounded: given.truncate ?? true,
    trained,
    length: given.attention_factor ?? (mscale && whole ? longer(mscale) / longer(whole) : longer(1)),
  };
}
