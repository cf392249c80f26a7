import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';

/** A decoder of the Llama kind. */
export interface TextSpec {
  /** What the names of its tensors begin with: nothing, or `language_model.` inside LLaVA. */
  readonly prefix: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
  /** Positions the rotary tables cover. */
  readonly positions: number;
  readonly rotary: Rotary;
  readonly epsilon: number;
  /** Whether queries, keys and values have a bias. */
  readonly bias: boolean;
  readonly tied: boolean;
}

/** How positions become angles. */
export interface Rotary {
  readonly theta: number;
  /** Llama 3.1's stretching of the slow frequencies, as transformers' `llama3`. */
  readonly stretch?: {
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    /** Positions that the model was first trained on. */
    readonly trained: number;
  };
}

const size = z.number().int().positive();
const positive = z.number().positive();
const rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: positive.optional(),
  factor: positive.optional(),
  low_freq_factor: positive.optional(),
  high_freq_factor: positive.optional(),
  original_max_position_embeddings: size.optional(),
});

// The defaults are those of transformers' LlamaConfig and Qwen2Config: config.json leaves out what equals them.
export const llamaSchema = z.looseObject({
  model_type: z.literal('llama').default('llama'),
  hidden_size: size.default(4096),
  intermediate_size: size.default(11008),
  num_hidden_layers: size.default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  vocab_size: size.default(32000),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: positive.default(1e-6),
  rope_theta: positive.default(10000),
  rope_scaling: rope.nullish(),
  rope_parameters: rope.nullish(),
  hidden_act: z.literal('silu').default('silu'),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(false),
});
export const qwen2Schema = llamaSchema.omit({ attention_bias: true, mlp_bias: true }).extend({
  model_type: z.literal('qwen2'),
  intermediate_size: size.default(22016),
  vocab_size: size.default(151936),
  max_position_embeddings: size.default(32768),
  use_sliding_window: z.literal(false).default(false),
});

type Parsed = z.infer<typeof llamaSchema> | z.infer<typeof qwen2Schema>;

/**
 * What a parsed text config says.
 * @param prefix see TextSpec.
 * @param where the name of the config in messages: `text_config`, or `config.json` itself.
 * @throws ElasticCacheError 'unsupported-model' for a kind of rotation that there is no graph for, 'invalid-checkpoint' for
 * heads that do not divide.
 */
export function textSpec(text: Parsed, prefix: string, where: string): TextSpec {
  if (!text.head_dim) checkHeads(where, text.num_attention_heads, text.hidden_size);
  checkHeads(where, text.num_key_value_heads ?? 1, text.num_attention_heads);
  return {
    prefix,
    hidden: text.hidden_size,
    intermediate: text.intermediate_size,
    layers: text.num_hidden_layers,
    queryHeads: text.num_attention_heads,
    kvHeads: text.num_key_value_heads ?? text.num_attention_heads,
    headDim: text.head_dim ?? text.hidden_size / text.num_attention_heads,
    vocabulary: text.vocab_size,
    positions: text.max_position_embeddings,
    rotary: rotaryOf(text, where),
    epsilon: text.rms_norm_eps,
    bias: text.model_type === 'qwen2',
    tied: text.tie_word_embeddings,
  };
}

function rotaryOf(text: Parsed, where: string): Rotary {
  const given = text.rope_parameters ?? text.rope_scaling;
  const theta = given?.rope_theta ?? text.rope_theta;
  const type = given?.rope_type ?? given?.type ?? 'default';
  if (type === 'default') return { theta };
  const { factor, low_freq_factor: low, high_freq_factor: high } = given!;
  const trained = given!.original_max_position_embeddings;
  if (type === 'llama3' && factor && low && high && trained) {
    return { theta, stretch: { factor, lowFrequencyFactor: low, highFrequencyFactor: high, trained } };
  }
  throw new ElasticCacheError(
    'unsupported-model',
    `config.json asks for "${type}" rotary scaling in ${where}${type === 'llama3' ? ' but lacks some of its factors' : ''}: only the unscaled kind ("default") and a complete "llama3" can be converted.`,
  );
}

/**
 * Heads share a width, or key-value heads share the query heads, evenly.
 * @throws ElasticCacheError 'invalid-checkpoint' with both numbers.
 */
export function checkHeads(config: string, heads: number, shared: number): void {
  if (shared % heads === 0) return;
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `${config} in config.json divides ${shared} into ${heads} heads, which leaves a remainder: use the config.json that belongs to these weights.`,
  );
}
