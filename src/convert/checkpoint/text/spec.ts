import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';
import { type Rotary, rope, rotaryOf } from './rotary.js';

/** A decoder of the Llama kind, or of Gemma's, which adds to it. */
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
  /** Whether each query and each key goes through a norm of its own width. */
  readonly headNorms?: boolean;
  /** By layer: how many tokens it sees, itself included; undefined for all. */
  readonly windows?: readonly (number | undefined)[];
  readonly gemma?: GemmaSpec;
}

/**
 * What Gemma 3 does otherwise: embeddings times the square root of their width, norms around every block, all of weight + 1, GELU for SiLU,
 * and another rotation in layers with a window.
 */
export interface GemmaSpec {
  /** Attention's scores are multiplied by it. */
  readonly scale: number;
  /** Of layers with a window; the others have the decoder's own. */
  readonly rotary: Rotary;
}

const size = z.number().int().positive();
const positive = z.number().positive();
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
export const qwen3Schema = qwen2Schema.extend({
  model_type: z.literal('qwen3'),
  num_key_value_heads: size.nullable().default(32),
  head_dim: size.default(128),
  attention_bias: z.literal(false).default(false),
});
export const mistralSchema = llamaSchema.omit({ attention_bias: true, mlp_bias: true }).extend({
  model_type: z.literal('mistral'),
  intermediate_size: size.default(14336),
  num_key_value_heads: size.nullable().default(8),
  max_position_embeddings: size.default(131072),
  sliding_window: size.nullable().default(4096),
});

const gemmaRope = z.looseObject({ rope_type: z.literal('default').default('default'), rope_theta: positive });
const layerType = z.enum(['sliding_attention', 'full_attention']);
/** Gemma3TextConfig, whose defaults are those of Gemma 3 4B but for what is given. */
export const gemmaSchema = z.looseObject({
  model_type: z.literal('gemma3_text'),
  hidden_size: size.default(2304),
  intermediate_size: size.default(9216),
  num_hidden_layers: size.default(26),
  num_attention_heads: size.default(8),
  num_key_value_heads: size.default(4),
  head_dim: size.default(256),
  vocab_size: size.default(262208),
  max_position_embeddings: size.default(131072),
  rms_norm_eps: positive.default(1e-6),
  query_pre_attn_scalar: positive.default(256),
  sliding_window: size.default(4096),
  sliding_window_pattern: size.default(6),
  layer_types: z.array(layerType).nullish(),
  // Two generations of names for the two rotations.
  rope_theta: positive.default(1e6),
  rope_local_base_freq: positive.default(1e4),
  rope_scaling: z.null().optional(),
  rope_parameters: z.looseObject({ full_attention: gemmaRope, sliding_attention: gemmaRope }).nullish(),
  hidden_activation: z.literal('gelu_pytorch_tanh').default('gelu_pytorch_tanh'),
  attention_bias: z.literal(false).default(false),
  attn_logit_softcapping: z.null().optional(),
  final_logit_softcapping: z.null().optional(),
  use_bidirectional_attention: z.literal(false).nullish(),
  tie_word_embeddings: z.boolean().default(true),
});

type Parsed = z.infer<typeof llamaSchema | typeof qwen2Schema | typeof qwen3Schema | typeof mistralSchema>;

/**
 * What a parsed text config says.
 * @param prefix see TextSpec.
 * @param where the name of the config in messages: `config.json`, or a part of it.
 * @throws ElasticCacheError 'unsupported-model' for a kind of rotation that there is no graph for, 'invalid-checkpoint' for
 * heads that do not divide.
 */
export function textSpec(text: Parsed, prefix: string, where: string): TextSpec {
  if (!text.head_dim) checkHeads(where, text.num_attention_heads, text.hidden_size);
  checkHeads(where, text.num_key_value_heads ?? 1, text.num_attention_heads);
  const headDim = text.head_dim ?? text.hidden_size / text.num_attention_heads;
  if (headDim % 8 !== 0) {
    throw new ElasticCacheError(
      'unsupported-model',
      `${where} makes heads ${headDim} wide: ONNX Runtime's GroupQueryAttention takes multiples of 8 only.`,
    );
  }
  return {
    prefix,
    hidden: text.hidden_size,
    intermediate: text.intermediate_size,
    layers: text.num_hidden_layers,
    queryHeads: text.num_attention_heads,
    kvHeads: text.num_key_value_heads ?? text.num_attention_heads,
    headDim,
    vocabulary: text.vocab_size,
    positions: text.max_position_embeddings,
    rotary: rotaryOf(text, where),
    epsilon: text.rms_norm_eps,
    bias: text.model_type === 'qwen2',
    tied: text.tie_word_embeddings,
    headNorms: text.model_type === 'qwen3',
    ...(text.model_type === 'mistral' && {
      windows: new Array(text.num_hidden_layers).fill(text.sliding_window ?? undefined),
    }),
  };
}

/**
 * What a parsed Gemma 3 config says.
 * @throws ElasticCacheError 'invalid-checkpoint' for heads that do not divide, or layers that are not all of a named type.
 */
export function gemmaSpec(text: z.infer<typeof gemmaSchema>): TextSpec {
  checkHeads('config.json', text.num_key_value_heads, text.num_attention_heads);
  const layers = text.num_hidden_layers;
  const windowed =
    text.layer_types?.map((type) => type === 'sliding_attention') ??
    Array.from({ length: layers }, (_, i) => (i + 1) % text.sliding_window_pattern !== 0);
  if (windowed.length !== layers) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `config.json has ${layers} layers but ${windowed.length} layer_types: use the config.json that belongs to these weights.`,
    );
  }
  const ropes = text.rope_parameters;
  return {
    prefix: '',
    hidden: text.hidden_size,
    intermediate: text.intermediate_size,
    layers,
    queryHeads: text.num_attention_heads,
    kvHeads: text.num_key_value_heads,
    headDim: text.head_dim,
    vocabulary: text.vocab_size,
    positions: text.max_position_embeddings,
    rotary: { theta: ropes?.full_attention.rope_theta ?? text.rope_theta },
    epsilon: text.rms_norm_eps,
    bias: false,
    tied: text.tie_word_embeddings,
    headNorms: true,
    windows: windowed.map((isWindowed) => (isWindowed ? text.sliding_window : undefined)),
    gemma: {
      scale: text.query_pre_attn_scalar ** -0.5,
      rotary: { theta: ropes?.sliding_attention.rope_theta ?? text.rope_local_base_freq },
    },
  };
}

/**
 * Heads share a width, or key-value heads share the query heads, evenly.
 * @throws ElasticCacheError 'invalid-checkpoint' with both numbers.
 */
export function checkHeads(config: string, heads: number, shared: number): void {
  if (shared % heads === 0) return;
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `${config} divides ${shared} into ${heads} heads, which leaves a remainder: use the config.json that belongs to these weights.`,
  );
}
