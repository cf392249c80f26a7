import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';
import { checkHeads, llamaSchema, type TextSpec, textSpec } from '../text/spec.js';
import { unsupported } from '../unsupported.js';

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

export type Activation = 'quick_gelu' | 'gelu' | 'gelu_pytorch_tanh';

export interface LlavaSpec {
  readonly vision: VisionSpec;
  readonly projector: ProjectorSpec;
  readonly text: TextSpec;
  readonly imageToken: number;
}

const size = z.number().int().positive();
const activation = z.enum(['quick_gelu', 'gelu']);
// The defaults are those of transformers' CLIPVisionConfig and LlavaConfig: config.json leaves out what equals them.
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
const schema = z.looseObject({
  model_type: z.literal('llava'),
  vision_config: visionSchema.default(() => visionSchema.parse(llavaVision)),
  text_config: llamaSchema.default(() => llamaSchema.parse({})),
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
  checkHeads('vision_config in config.json', vision.num_attention_heads, vision.hidden_size);
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
    text: textSpec(
      { ...text, tie_word_embeddings: text.tie_word_embeddings || top.tie_word_embeddings },
      'language_model.',
      'text_config in config.json',
    ),
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
