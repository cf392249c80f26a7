import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';
import type { NeededTensor, Spellings } from '../../reading/checkpoint.js';
import type { Json } from '../json.js';
import type { Activation } from '../llava/spec.js';
import { checkHeads, qwen2Schema, type TextSpec, textSpec } from '../text/spec.js';
import { linear } from '../text/tensors.js';
import { unsupported } from '../unsupported.js';

/** Qwen2-VL's vision tower, or Qwen2.5-VL's: pictures of any size as rows of patches, rotated by their row and column. */
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
  /** Of Qwen2-VL's layers; Qwen2.5-VL's have a gate with SiLU, and norms by the root mean square. */
  readonly activation: Activation | 'silu';
  /** Qwen2.5-VL: patches along each side of the window that all layers see but these. */
  readonly window?: { readonly side: number; readonly whole: readonly number[] };
}

export interface Qwen2VlSpec {
  readonly kind: 'qwen2_vl' | 'qwen2_5_vl';
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
const windowedVisionSchema = visionSchema.omit({ embed_dim: true, mlp_ratio: true }).extend({
  hidden_size: size.default(3584),
  intermediate_size: size.default(3420),
  out_hidden_size: size.default(3584),
  hidden_act: z.literal('silu').default('silu'),
  window_size: size.default(112),
  fullatt_block_indexes: z.array(z.number().int().nonnegative()).default([7, 15, 23, 31]),
});
const rope = z.looseObject({
  mrope_section: z.array(size).length(3),
  rope_theta: z.number().positive().optional(),
});
const textSchema = qwen2Schema.extend({
  model_type: z.enum(['qwen2_vl', 'qwen2_vl_text', 'qwen2_5_vl', 'qwen2_5_vl_text']).default('qwen2_vl_text'),
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
  model_type: z.enum(['qwen2_vl', 'qwen2_5_vl']),
  vision_config: z.looseObject({}),
  image_token_id: token.default(151655),
  video_token_id: token.default(151656),
  vision_start_token_id: token.default(151652),
  tie_word_embeddings: z.boolean().optional(),
});

/**
 * What a config.json of Qwen2-VL or Qwen2.5-VL says, flat as on the Hub or with a text_config as transformers 5 writes it.
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
  const { image_token_id, video_token_id, vision_start_token_id } = top;
  const { width, ...vision } =
    top.model_type === 'qwen2_vl'
      ? vision2(parse(visionSchema, top.vision_config))
      : vision25(parse(windowedVisionSchema, top.vision_config));
  checkHeads('vision_config in config.json', vision.heads, vision.hidden);
  if (width !== spec.hidden || sections.reduce((sum, part) => sum + part, 0) * 2 !== spec.headDim) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `config.json gives the decoder a width of ${spec.hidden} and heads of ${spec.headDim}, but the vision tower's tokens ${width} and mrope_section ${sections.join(', ')}: use the config.json that belongs to these weights.`,
    );
  }
  return {
    kind: top.model_type,
    vision,
    text: { ...spec, rotary: { ...spec.rotary, sections } },
    tokens: { image_token_id, video_token_id, vision_start_token_id },
  };
}

/** A tower, and the width of its tokens. */
type Tower = GridVisionSpec & { readonly width: number };

function vision2(vision: z.infer<typeof visionSchema>): Tower {
  return {
    ...common(vision),
    hidden: vision.embed_dim,
    intermediate: Math.floor(vision.embed_dim * vision.mlp_ratio),
    activation: vision.hidden_act,
    width: vision.hidden_size,
  };
}

function vision25(vision: z.infer<typeof windowedVisionSchema>): Tower {
  const { patch_size: patch, spatial_merge_size: merge, window_size: pixels } = vision;
  return {
    ...common(vision),
    hidden: vision.hidden_size,
    intermediate: vision.intermediate_size,
    activation: 'silu',
    window: { side: Math.floor(pixels / merge / patch) * merge, whole: vision.fullatt_block_indexes },
    width: vision.out_hidden_size,
  };
}

function common(vision: z.infer<typeof windowedVisionSchema> | z.infer<typeof visionSchema>) {
  return {
    layers: vision.depth,
    heads: vision.num_heads,
    channels: vision.in_channels,
    patchSize: vision.patch_size,
    frames: vision.temporal_patch_size,
    merge: vision.spatial_merge_size,
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
    const mlp = vision.window
      ? [
          ...linear(`${block}.mlp.gate_proj`, [intermediate, hidden]),
          ...linear(`${block}.mlp.up_proj`, [intermediate, hidden]),
          ...linear(`${block}.mlp.down_proj`, [hidden, intermediate]),
        ]
      : [
          ...linear(`${block}.mlp.fc1`, [intermediate, hidden]),
          ...linear(`${block}.mlp.fc2`, [hidden, intermediate]),
        ];
    tensors.push(
      ...linear(`${block}.norm1`, [hidden], !vision.window),
      ...linear(`${block}.norm2`, [hidden], !vision.window),
      ...linear(`${block}.attn.qkv`, [3 * hidden, hidden]),
      ...linear(`${block}.attn.proj`, [hidden, hidden]),
      ...mlp,
    );
  }
  return [
    ...tensors,
    ...linear(`${merger}.ln_q`, [hidden], !vision.window),
    ...linear(`${merger}.mlp.0`, [merged, merged]),
    ...linear(`${merger}.mlp.2`, [text.hidden, merged]),
  ];
}
