import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';
import type { NeededTensor, Spellings } from '../../reading/checkpoint.js';
import type { Json } from '../json.js';
import type { VisionSpec } from '../llava/spec.js';
import { encoderLayerTensors } from '../llava/tensors.js';
import { checkHeads, llamaSchema, type TextSpec, textSpec } from '../text/spec.js';
import { linear } from '../text/tensors.js';
import { unsupported } from '../unsupported.js';

export interface Idefics3Spec {
  readonly kind: 'idefics3' | 'smolvlm';
  /** SigLIP's tower. */
  readonly vision: Omit<VisionSpec, 'dropClassToken'>;
  /** Patches along each side of the square that becomes one token. */
  readonly scale: number;
  /** Tokens of a tile. */
  readonly tokens: number;
  readonly text: TextSpec;
  readonly imageToken: number;
}

export const tiledVisionPrefix = 'vision_model';
export const connector = 'connector.modality_projection.proj';

/** The decoder's names are canonical as a text model's are. */
export const idefics3Spellings: Spellings = [
  [/^model\.text_model\./, 'model.'],
  [/^model\.(vision_model|connector)\./, '$1.'],
];

const size = z.number().int().positive();
// The defaults are those of transformers' Idefics3Config and SmolVLMConfig and of their vision configs.
const visionSchema = z.looseObject({
  hidden_size: size.default(1152),
  intermediate_size: size.default(3072),
  num_hidden_layers: size.default(12),
  num_attention_heads: size.default(16),
  num_channels: size.default(3),
  image_size: size.default(224),
  patch_size: size.default(32),
  hidden_act: z.literal('gelu_pytorch_tanh').default('gelu_pytorch_tanh'),
  layer_norm_eps: z.number().positive().default(1e-6),
});
const schema = z.looseObject({
  model_type: z.enum(['idefics3', 'smolvlm']),
  vision_config: visionSchema,
  text_config: llamaSchema,
  image_token_id: z.number().int().nonnegative().default(128257),
  scale_factor: size.default(2),
  tie_word_embeddings: z.boolean().optional(),
});

/**
 * What an Idefics3 or SmolVLM config.json says, with transformers' defaults filled in.
 * @throws ElasticCacheError 'unsupported-model' or 'invalid-checkpoint' naming the entry.
 */
export function idefics3Spec(config: Json): Idefics3Spec {
  const parsed = schema.safeParse(config);
  if (!parsed.success) throw unsupported(config, parsed.error.issues[0]!);
  const { vision_config: vision, text_config: text, ...top } = parsed.data;
  checkHeads('vision_config in config.json', vision.num_attention_heads, vision.hidden_size);
  const side = Math.floor(vision.image_size / vision.patch_size);
  if (side % top.scale_factor !== 0) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `config.json has scale_factor ${top.scale_factor}, which does not divide the ${side} patches along a tile: use the config.json that belongs to these weights.`,
    );
  }
  return {
    kind: top.model_type,
    vision: {
      hidden: vision.hidden_size,
      intermediate: vision.intermediate_size,
      layers: vision.num_hidden_layers,
      heads: vision.num_attention_heads,
      imageSize: vision.image_size,
      patchSize: vision.patch_size,
      channels: vision.num_channels,
      activation: vision.hidden_act,
      epsilon: vision.layer_norm_eps,
    },
    scale: top.scale_factor,
    tokens: (side / top.scale_factor) ** 2,
    text: textSpec(
      { ...text, tie_word_embeddings: top.tie_word_embeddings ?? text.tie_word_embeddings },
      '',
      'text_config in config.json',
    ),
    imageToken: top.image_token_id,
  };
}

/** What the vision encoder reads, by the names of transformers' Idefics3ForConditionalGeneration without `model.`. */
export function tiledVisionTensors({ vision, text, scale }: Idefics3Spec): NeededTensor[] {
  const { hidden, channels, patchSize } = vision;
  const embeddings = `${tiledVisionPrefix}.embeddings`;
  const kernel = [hidden, channels, patchSize, patchSize];
  const positions = Math.floor(vision.imageSize / patchSize) ** 2;
  const tensors = [
    ...linear(`${embeddings}.patch_embedding`, kernel),
    { name: `${embeddings}.position_embedding.weight`, shape: [positions, hidden] },
  ];
  for (let i = 0; i < vision.layers; i++)
    tensors.push(...encoderLayerTensors(`${tiledVisionPrefix}.encoder.layers.${i}`, vision));
  return [
    ...tensors,
    ...linear(`${tiledVisionPrefix}.post_layernorm`, [hidden]),
    { name: `${connector}.weight`, shape: [text.hidden, hidden * scale ** 2] },
  ];
}
