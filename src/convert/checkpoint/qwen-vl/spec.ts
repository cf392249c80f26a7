import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';
import type { NeededTensor, Packed, Spellings } from '../../reading/checkpoint.js';
import type { Json } from '../json.js';
import type { VisionSpec } from '../llava/spec.js';
import { encoderLayerTensors } from '../llava/tensors.js';
import { checkHeads, type TextSpec } from '../text/spec.js';
import { linear } from '../text/tensors.js';
import { unsupported } from '../unsupported.js';

/** Qwen-VL and Qwen-VL-Chat of 2023: a tower whose patches one cross attention sums up in a fixed number of tokens. */
export interface QwenVlSpec {
  readonly vision: Omit<VisionSpec, 'dropClassToken'>;
  readonly pool: {
    /** Tokens of a picture, the square of a whole number. */
    readonly queries: number;
    readonly heads: number;
  };
  readonly text: TextSpec;
  readonly imageToken: number;
}

export const pooledVisionPrefix = 'visual';
export const poolPrefix = `${pooledVisionPrefix}.attn_pool`;
/** Entries of the tower's table of positions, whatever the size of its pictures. */
export const storedPositions = 256;
/** Width of a head of the pool. */
const poolHead = 128;

/** The decoder's names become those of Llama, the tower's those of CLIP. */
export const qwenVlSpellings: Spellings = [
  [/^transformer\.visual\.transformer\.resblocks\.(\d+)\.(.*)/, 'visual.layers.$1.$2'],
  [/^(visual\.layers\.\d+)\.ln_([12])\./, '$1.layer_norm$2.'],
  [/^(visual\.layers\.\d+)\.attn\./, '$1.self_attn.'],
  [/^(visual\.layers\.\d+)\.mlp\.c_fc\./, '$1.mlp.fc1.'],
  [/^(visual\.layers\.\d+)\.mlp\.c_proj\./, '$1.mlp.fc2.'],
  [/^transformer\.visual\./, 'visual.'],
  [/^transformer\.h\.(\d+)\./, 'model.layers.$1.'],
  [/^(model\.layers\.\d+)\.ln_1\./, '$1.input_layernorm.'],
  [/^(model\.layers\.\d+)\.ln_2\./, '$1.post_attention_layernorm.'],
  [/^(model\.layers\.\d+)\.attn\.c_proj\./, '$1.self_attn.o_proj.'],
  [/^(model\.layers\.\d+)\.mlp\.w1\./, '$1.mlp.up_proj.'],
  [/^(model\.layers\.\d+)\.mlp\.w2\./, '$1.mlp.gate_proj.'],
  [/^(model\.layers\.\d+)\.mlp\.c_proj\./, '$1.mlp.down_proj.'],
  [/^transformer\.wte\./, 'model.embed_tokens.'],
  [/^transformer\.ln_f\./, 'model.norm.'],
];

/** Queries, keys and values are one matrix: the decoder's and the pool's one after the other, the tower's head by head. */
export function qwenVlPacked({ vision }: QwenVlSpec): readonly Packed[] {
  const projections = (prefix: string, suffix = '') =>
    ['q', 'k', 'v'].map((part) => `${prefix}${part}_proj${suffix}`);
  return [
    { pattern: /(?<=^model\.layers\.\d+\.)attn\.c_attn(?=\.)/, names: projections('self_attn.'), groups: 1 },
    {
      pattern: /(?<=^visual\.layers\.\d+\.)self_attn\.in_proj(?=\.)/,
      names: projections('self_attn.'),
      groups: vision.heads,
    },
    { pattern: /(?<=^visual\.attn_pool\.)attn\.in_proj_/, names: projections('', '.'), groups: 1 },
  ];
}

const size = z.number().int().positive();
const positive = z.number().positive();
// The defaults are those of the checkpoint's own configuration_qwen.py and visual.py.
const schema = z.looseObject({
  model_type: z.literal('qwen'),
  hidden_size: size.default(4096),
  intermediate_size: size.default(22016),
  num_hidden_layers: size.default(32),
  num_attention_heads: size.default(32),
  kv_channels: size.default(128),
  vocab_size: size.default(151936),
  seq_length: size.default(2048),
  max_position_embeddings: size.default(8192),
  layer_norm_epsilon: positive.default(1e-6),
  rotary_emb_base: positive.default(10000),
  rotary_pct: z.literal(1).default(1),
  scale_attn_weights: z.literal(true).default(true),
  no_bias: z.literal(true).default(true),
  use_dynamic_ntk: z.boolean().default(true),
  use_logn_attn: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(false),
  visual: z.looseObject({
    width: size,
    layers: size,
    heads: size,
    mlp_ratio: positive.default(4),
    image_size: size,
    patch_size: size,
    output_dim: size.default(512),
    n_queries: size.default(256),
    image_start_id: z.number().int().nonnegative(),
  }),
});

/**
 * What the config.json of a Qwen-VL says.
 * @throws ElasticCacheError 'unsupported-model' or 'invalid-checkpoint' naming the entry.
 */
export function qwenVlSpec(config: Json): QwenVlSpec {
  const parsed = schema.safeParse(config);
  if (!parsed.success) throw unsupported(config, parsed.error.issues[0]!);
  const { visual, ...text } = parsed.data;
  checkHeads('visual in config.json', visual.heads, visual.width);
  const side = Math.floor(visual.image_size / visual.patch_size);
  const contradiction = [
    [text.kv_channels * text.num_attention_heads, text.hidden_size, 'num_attention_heads times kv_channels'],
    [visual.output_dim, text.hidden_size, 'visual.output_dim'],
    [visual.output_dim % poolHead, 0, `visual.output_dim modulo ${poolHead}`],
    [Math.sqrt(visual.n_queries) % 1, 0, 'the square root of visual.n_queries modulo 1'],
    [
      visual.image_size % Math.sqrt(visual.n_queries),
      0,
      'visual.image_size modulo the root of visual.n_queries',
    ],
    [side * visual.patch_size, visual.image_size, 'whole patches in visual.image_size'],
    [text.intermediate_size % 2, 0, 'intermediate_size modulo 2'],
  ].find(([found, wanted]) => found !== wanted);
  if (contradiction) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `config.json makes ${contradiction[2]} ${contradiction[0]}, which has to be ${contradiction[1]}: use the config.json that belongs to these weights.`,
    );
  }
  return {
    vision: {
      hidden: visual.width,
      intermediate: Math.floor(visual.width * visual.mlp_ratio),
      layers: visual.layers,
      heads: visual.heads,
      imageSize: visual.image_size,
      patchSize: visual.patch_size,
      channels: 3,
      activation: 'gelu',
      epsilon: 1e-6,
    },
    pool: { queries: visual.n_queries, heads: visual.output_dim / poolHead },
    text: {
      prefix: '',
      hidden: text.hidden_size,
      intermediate: text.intermediate_size / 2,
      layers: text.num_hidden_layers,
      queryHeads: text.num_attention_heads,
      kvHeads: text.num_attention_heads,
      headDim: text.kv_channels,
      vocabulary: text.vocab_size,
      positions: text.max_position_embeddings,
      rotary: {
        theta: text.rotary_emb_base,
        trained: text.seq_length,
        ...(text.use_dynamic_ntk && { stages: stages(text.seq_length, text.max_position_embeddings) }),
        ...(text.use_logn_attn && { scalesQueries: true }),
      },
      epsilon: text.layer_norm_epsilon,
      bias: true,
      tied: text.tie_word_embeddings,
    },
    // `<img>`, `</img>`, and what fills the places between them.
    imageToken: visual.image_start_id + 2,
  };
}

/** Prompts up to these lengths turn as slowly as each other: what the model was trained on, and twice as much each time. */
function stages(trained: number, longest: number): number[] {
  const lengths = [trained];
  while (lengths.at(-1)! < longest) lengths.push(lengths.at(-1)! * 2);
  return lengths;
}

/** What the vision encoder reads, by canonical names. */
export function pooledVisionTensors({ vision, pool, text }: QwenVlSpec): NeededTensor[] {
  const { hidden, channels, patchSize } = vision;
  const output = text.hidden;
  const tensors: NeededTensor[] = [
    { name: `${pooledVisionPrefix}.conv1.weight`, shape: [hidden, channels, patchSize, patchSize] },
    { name: `${pooledVisionPrefix}.positional_embedding`, shape: [storedPositions, hidden] },
    ...linear(`${pooledVisionPrefix}.ln_pre`, [hidden]),
  ];
  for (let i = 0; i < vision.layers; i++)
    tensors.push(...encoderLayerTensors(`${pooledVisionPrefix}.layers.${i}`, vision));
  return [
    ...tensors,
    // Where the widths are equal the original has none.
    ...(hidden === output ? [] : linear(`${poolPrefix}.kv_proj`, [output, hidden], false)),
    ...linear(`${poolPrefix}.ln_kv`, [output]),
    ...linear(`${poolPrefix}.ln_q`, [output]),
    { name: `${poolPrefix}.query`, shape: [pool.queries, output] },
    { name: `${poolPrefix}.pos_embed`, shape: [pool.queries, output] },
    ...['q_proj', 'k_proj', 'v_proj', 'attn.out_proj'].flatMap((name) =>
      linear(`${poolPrefix}.${name}`, [output, output]),
    ),
    ...linear(`${pooledVisionPrefix}.ln_post`, [output]),
    { name: `${pooledVisionPrefix}.proj`, shape: [output, output] },
  ];
}
