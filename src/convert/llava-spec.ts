import { z } from 'zod';
import { ElasticCacheError } from '../errors.js';

/** The CLIP vision tower and how its features are taken. */
export interface VisionSpec {
  readonly hidden: number;
  readonly intermediate: number;
  /** Layers that are run: those after the feature layer are left out. */
  readonly layers: number;
  readonly heads: number;
  /** Pixels. */
  readonly imageSize: number;
  readonly patchSize: number;
  readonly channels: number;
  readonly activation: Activation;
  readonly epsilon: number;
  readonly dropClassToken: boolean;
}

export interface ProjectorSpec {
  readonly activation: Activation;
  readonly bias: boolean;
}

/** The Llama decoder. */
export interface TextSpec {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
  /** Positions the rotary tables cover. */
  readonly positions: number;
  readonly ropeTheta: number;
  readonly epsilon: number;
  readonly tied: boolean;
}

export type Activation = 'quick_gelu' | 'gelu';

export interface LlavaSpec {
  readonly vision: VisionSpec;
  readonly projector: ProjectorSpec;
  readonly text: TextSpec;
  readonly imageToken: number;
}

const size = z.number().int().positive();
const activation = z.enum(['quick_gelu', 'gelu']);
const rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
});

// The defaults are those of transformers' CLIPVisionConfig, LlamaConfig and LlavaConfig: config.json leaves out what equals them.
const visionSchema = z.looseObject({
  model_type: z.literal('clip_vision_model').default('clip_vision_model'),
  hidden_size: size.default(768),
  intermediate_size: size.default(3072),
  num_hidden_layers: size.default(12),
  num_attention_heads: size.default(12),
  image_size: size.default(224),
  patch_size: size.default(32),
  num_channels: size.default(3),
  hidden_act: activation.default('quick_gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
});
const llavaVision = {
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  image_size: 336,
  patch_size: 14,
};
const textSchema = z.looseObject({
  model_type: z.literal('llama').default('llama'),
  hidden_size: size.default(4096),
  intermediate_size: size.default(11008),
  num_hidden_layers: size.default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  vocab_size: size.default(32000),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().default(10000),
  rope_scaling: rope.nullish(),
  rope_parameters: rope.nullish(),
  hidden_act: z.literal('silu').default('silu'),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(false),
});
const schema = z.looseObject({
  model_type: z.literal('llava'),
  vision_config: visionSchema.default(() => visionSchema.parse(llavaVision)),
  text_config: textSchema.default(() => textSchema.parse({})),
  image_token_index: z.number().int().nonnegative().optional(),
  image_token_id: z.number().int().nonnegative().optional(),
  projector_hidden_act: activation.default('gelu'),
  multimodal_projector_bias: z.boolean().default(true),
  vision_feature_layer: z.number().int().default(-2),
  vision_feature_select_strategy: z.enum(['default', 'full']).default('default'),
  tie_word_embeddings: z.boolean().default(false),
});

/**
 * What a LLaVA config.json says, with transformers' defaults filled in.
 * @throws ElasticCacheError 'unsupported-model' naming the first entry that this converter has no graph for.
 */
export function llavaSpec(config: unknown): LlavaSpec {
  const parsed = schema.safeParse(config);
  if (!parsed.success) throw unsupported(config, parsed.error.issues[0]!);
  const { vision_config: vision, text_config: text, ...top } = parsed.data;
  checkHeads('vision_config', vision.num_attention_heads, vision.hidden_size);
  if (!text.head_dim) checkHeads('text_config', text.num_attention_heads, text.hidden_size);
  checkHeads('text_config', text.num_key_value_heads ?? 1, text.num_attention_heads);
  const ropeParameters = text.rope_parameters ?? text.rope_scaling;
  const ropeType = ropeParameters?.rope_type ?? ropeParameters?.type ?? 'default';
  if (ropeType !== 'default') {
    throw new ElasticCacheError(
      'unsupported-model',
      `config.json asks for "${ropeType}" rotary scaling in text_config: only the unscaled kind ("default") can be converted.`,
    );
  }
  return {
    vision: {
      hidden: vision.hidden_size,
      intermediate: vision.intermediate_size,
      layers: featureLayers(top.vision_feature_layer, vision.num_hidden_layers),
      heads: vision.num_attention_heads,
      imageSize: vision.image_size,
      patchSize: vision.patch_size,
      channels: vision.num_channels,
      activation: vision.hidden_act,
      epsilon: vision.layer_norm_eps,
      dropClassToken: top.vision_feature_select_strategy === 'default',
    },
    projector: { activation: top.projector_hidden_act, bias: top.multimodal_projector_bias },
    text: {
      hidden: text.hidden_size,
      intermediate: text.intermediate_size,
      layers: text.num_hidden_layers,
      queryHeads: text.num_attention_heads,
      kvHeads: text.num_key_value_heads ?? text.num_attention_heads,
      headDim: text.head_dim ?? text.hidden_size / text.num_attention_heads,
      vocabulary: text.vocab_size,
      positions: text.max_position_embeddings,
      ropeTheta: ropeParameters?.rope_theta ?? text.rope_theta,
      epsilon: text.rms_norm_eps,
      tied: text.tie_word_embeddings || top.tie_word_embeddings,
    },
    imageToken: top.image_token_index ?? top.image_token_id ?? 32000,
  };
}

/** Layers to run for hidden_states[layer], where hidden_states[0] is what enters the first layer. */
function featureLayers(layer: number, layers: number): number {
  const run = layer < 0 ? layers + 1 + layer : layer;
  if (run < 0 || run > layers) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `config.json takes vision_feature_layer ${layer}, but the vision tower has ${layers} layers: use the config.json that belongs to these weights.`,
    );
  }
  return run;
}

/** Heads share a width, or key-value heads share the query heads, evenly. */
function checkHeads(config: string, heads: number, shared: number): void {
  if (shared % heads === 0) return;
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `${config} in config.json divides ${shared} into ${heads} heads, which leaves a remainder: use the config.json that belongs to these weights.`,
  );
}

function unsupported(config: unknown, issue: z.core.$ZodIssue): ElasticCacheError {
  const path = issue.path.join('.');
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    config,
  );
  const expected = 'values' in issue ? issue.values.map(String).join(' or ') : issue.message;
  return new ElasticCacheError(
    'unsupported-model',
    `config.json has ${path || 'content'} = ${JSON.stringify(value)}, but only ${expected} can be converted: the converter knows LLaVA 1.5 (llava: CLIP vision tower, GELU projector, Llama decoder).`,
  );
}
