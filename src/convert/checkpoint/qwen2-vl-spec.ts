import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import type { NeededTensor, Spellings } from '../reading/checkpoint.js';
import type { Json } from './checkpoint-files.js';
import type { Activation } from './llava-spec.js';
import { checkHeads, qwen2Schema, type TextSpec, textSpec } from './text-spec.js';
import { linear } from './text-tensors.js';
import { unsupported } from './unsupported.js';

/** Qwen2-VL's vision tower: pictures of any size as rows of patches, rotated by their row and column. */
export interface GridVisionSpec {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly channels: number;
  /** Pixels. */
  readonly patchSize: number;
  /** Frames in a patch; a still picture is repeated. */
  readonly frames: number;
  /** Patches along each side of the square that becomes one token. */
  readonly merge: number;
  readonly activation: Activation;
}

export interface Qwen2VlSpec {
  readonly vision: GridVisionSpec;
  readonly text: TextSpec;
  readonly tokens: Readonly<Record<'image_token_id' | 'video_token_id' | 'vision_start_token_id', number>>;
}

export const gridVisionPrefix = 'visual';

/** Newer transformers put both parts into one model; the older names are canonical here. */
export const qwen2VlSpellings: Spellings = [
  [/^model\.visual\./, 'visual.'],
  [/^model\.language_model\./, 'model.'],
];

const size = z.number().int().positive();
const token = z.number().int().nonnegative();
// The defaults are those of transformers' Qwen2VLVisionConfig, Qwen2VLTextConfig and Qwen2VLConfig.
const visionSchema = z.looseObject({
  depth: size.default(32),
  embed_dim: size.default(1280),
  hidden_size: size.default(3584),
  hidden_act: z.enum(['quick_gelu', 'gelu']).default('quick_gelu'),
  mlp_ratio: z.number().positive().default(4),
  num_heads: size.default(16),
  in_channels: size.default(3),
  patch_size: size.default(14),
  spatial_merge_size: size.default(2),
  temporal_patch_size: size.default(2),
});
const rope = z.looseObject({
  mrope_section: z.array(size).length(3),
  rope_theta: z.number().positive().optional(),
});
const textSchema = qwen2Schema.extend({
  model_type: z.enum(['qwen2_vl', 'qwen2_vl_text']).default('qwen2_vl_text'),
  hidden_size: size.default(8192),
  intermediate_size: size.default(29568),
  num_hidden_layers: size.default(80),
  num_attention_heads: size.default(64),
  num_key_value_heads: size.nullish().default(8),
  vocab_size: size.default(152064),
  rms_norm_eps: z.number().positive().default(1e-5),
  rope_theta: z.number().positive().default(1e6),
});
const schema = z.looseObject({
  model_type: z.literal('qwen2_vl'),
  vision_config: visionSchema,
  image_token_id: token.default(151655),
  video_token_id: token.default(151656),
  vision_start_token_id: token.default(151652),
  tie_word_embeddings: z.boolean().optional(),
});

/**
 * What a Qwen2-VL config.json says, flat as on the Hub or with a text_config as transformers 5 writes it.
 * @throws ElasticCacheError 'unsupported-model' or 'invalid-checkpoint' naming the entry.
 */
export function qwen2VlSpec(config: Json): Qwen2VlSpec {
  const top = parse(schema, config);
  const given = (config.text_config ?? config) as Json;
  const text = parse(textSchema, given);
  const { mrope_section: sections, rope_theta: theta } = parse(
    rope,
    (given.rope_parameters ?? given.rope_scaling ?? {}) as Json,
  );
  const spec = textSpec(
    {
      ...text,
      model_type: 'qwen2',
      rope_theta: theta ?? text.rope_theta,
      rope_scaling: null,
      rope_parameters: null,
      tie_word_embeddings: top.tie_word_embeddings ?? text.tie_word_embeddings,
    },
    '',
    'config.json',
  );
  const { vision_config: vision, image_token_id, video_token_id, vision_start_token_id } = top;
  checkHeads('vision_config', vision.num_heads, vision.embed_dim);
  if (
    vision.hidden_size !== spec.hidden ||
    sections.reduce((sum, part) => sum + part, 0) * 2 !== spec.headDim
  ) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `config.json gives the decoder a width of ${spec.hidden} and heads of ${spec.headDim}, but vision_config a hidden_size of ${vision.hidden_size} and mrope_section ${sections.join(', ')}: use the config.json that belongs to these weights.`,
    );
  }
  return {
    vision: {
      hidden: vision.embed_dim,
      intermediate: Math.floor(vision.embed_dim * vision.mlp_ratio),
      layers: vision.depth,
      heads: vision.num_heads,
      channels: vision.in_channels,
      patchSize: vision.patch_size,
      frames: vision.temporal_patch_size,
      merge: vision.spatial_merge_size,
      activation: vision.hidden_act,
    },
    text: { ...spec, rotary: { ...spec.rotary, sections } },
    tokens: { image_token_id, video_token_id, vision_start_token_id },
  };
}

function parse<T extends z.ZodType>(kind: T, value: Json): z.output<T> {
  const parsed = kind.safeParse(value);
  if (!parsed.success) throw unsupported(value, parsed.error.issues[0]!);
  return parsed.data;
}

/** Numbers in a row of `pixel_values`. */
export function patchWidth({ channels, frames, patchSize }: GridVisionSpec): number {
  return channels * frames * patchSize ** 2;
}

/** What the vision encoder reads, by the names of transformers' Qwen2VLForConditionalGeneration. */
export function gridVisionTensors({ vision, text }: Qwen2VlSpec): NeededTensor[] {
  const { hidden, intermediate, channels, frames, patchSize } = vision;
  const merged = hidden * vision.merge ** 2;
  const merger = `${gridVisionPrefix}.merger`;
  const tensors: NeededTensor[] = [
    {
      name: `${gridVisionPrefix}.patch_embed.proj.weight`,
      shape: [hidden, channels, frames, patchSize, patchSize],
    },
  ];
  for (let i = 0; i < vision.layers; i++) {
    const block = `${gridVisionPrefix}.blocks.${i}`;
    tensors.push(
      ...linear(`${block}.norm1`, [hidden]),
      ...linear(`${block}.norm2`, [hidden]),
      ...linear(`${block}.attn.qkv`, [3 * hidden, hidden]),
      ...linear(`${block}.attn.proj`, [hidden, hidden]),
      ...linear(`${block}.mlp.fc1`, [intermediate, hidden]),
      ...linear(`${block}.mlp.fc2`, [hidden, intermediate]),
    );
  }
  return [
    ...tensors,
    ...linear(`${merger}.ln_q`, [hidden]),
    ...linear(`${merger}.mlp.0`, [merged, merged]),
    ...linear(`${merger}.mlp.2`, [text.hidden, merged]),
  ];
}
