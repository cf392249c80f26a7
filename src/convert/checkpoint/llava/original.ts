import { z } from 'zod';
import { ElasticCacheError } from '../../../errors.js';
import type { Spellings } from '../../reading/checkpoint.js';
import { type CheckpointFiles, readTowerFiles, tokenId } from '../checkpoint-files.js';
import { isJson, type Json } from '../json.js';
import { unsupported } from '../unsupported.js';
import { clipStatistics } from './files.js';

/**
 * Names of the code that LLaVA was published with. The tower's own come from a directory of CLIP, or, where it was trained with the
 * rest, from within.
 */
export const originalSpellings: Spellings = [
  [/^model\.mm_projector\.0\./, 'multi_modal_projector.linear_1.'],
  [/^model\.mm_projector\.2\./, 'multi_modal_projector.linear_2.'],
  [/^model\.vision_tower\.vision_tower\./, 'vision_tower.'],
  [/^vision_model\./, 'vision_tower.vision_model.'],
  [/^(model|lm_head)\./, 'language_model.$1.'],
];

const schema = z.looseObject({
  mm_vision_tower: z.string(),
  mm_projector_type: z.literal('mlp2x_gelu'),
  mm_vision_select_layer: z.number().int(),
  mm_vision_select_feature: z.enum(['patch', 'cls_patch']).default('patch'),
  image_aspect_ratio: z.enum(['pad', 'square']).default('square'),
  mm_use_im_start_end: z.literal(false).default(false),
  vocab_size: z.number().int().positive().default(32000),
});

/** CLIP's large tower at 336 or 224 pixels, which all of LLaVA's published checkpoints have. */
const largeTower = {
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  patch_size: 14,
};

/** `vicuna_v1` of the original code: pictures before the text, and a system prompt unless the conversation has one. */
const vicunaTemplate = `{% for message in messages %}{% if loop.first and message.role != 'system' %}{{ "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. " }}{% endif %}{% if message.role == 'user' %}{{ 'USER: ' }}{% elif message.role == 'assistant' %}{{ 'ASSISTANT: ' }}{% endif %}{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}{{ '<image>\\n' }}{% endif %}{% endfor %}{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{{ eos_token if message.role == 'assistant' else ' ' }}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}`;

/** Whether a checkpoint is as LLaVA's authors published it: one flat config, in which the tower is only named. */
export function isOriginalLlava({
  model_type: type,
  text_config: text,
  mm_vision_tower: tower,
}: Json): boolean {
  return type === 'llava_llama' || (type === 'llava' && text === undefined && tower !== undefined);
}

/**
 * The small files of an original checkpoint as llava-hf's would be: configs of the parts, an `<image>` token of its own (its id is
 * the first that is free, where the original has a mark that is no token), pictures padded to a square.
 * @param tower directory of the CLIP model that the tower is from; undefined when the checkpoint holds it.
 * @throws ElasticCacheError 'unsupported-model' for another projector or another way to cut pictures, 'missing-file'.
 */
export async function modernLlava(
  files: CheckpointFiles,
  tower: string | undefined,
): Promise<CheckpointFiles> {
  const parsed = schema.safeParse(files.config);
  if (!parsed.success) throw unsupported(files.config, parsed.error.issues[0]!);
  const original = parsed.data;
  const towerFiles = tower === undefined ? undefined : await readTowerFiles(tower);
  const vision = towerFiles?.vision ?? namedTower(original.mm_vision_tower);
  const imageToken = tokenId(files.tokenizer, '<image>') ?? firstFree(files.tokenizer, original.vocab_size);
  return {
    ...files,
    config: {
      model_type: 'llava',
      image_token_index: imageToken,
      projector_hidden_act: 'gelu',
      vision_feature_layer: original.mm_vision_select_layer,
      vision_feature_select_strategy: original.mm_vision_select_feature === 'patch' ? 'default' : 'full',
      tie_word_embeddings: files.config.tie_word_embeddings ?? false,
      text_config: { ...textPart(files.config), model_type: 'llama' },
      vision_config: vision,
    },
    preprocessor: preprocessor(
      towerFiles?.preprocessor ?? files.preprocessor ?? {},
      Number(vision.image_size),
      original.image_aspect_ratio === 'pad',
    ),
    processor: { image_token: '<image>' },
    tokenizer: withToken(files.tokenizer, '<image>', imageToken),
    chatTemplate: files.chatTemplate ?? vicunaTemplate,
  };
}

/** The flat config without what is LLaVA's or the file's own. */
function textPart(config: Json): Json {
  const own =
    /^(mm_|tune_|freeze_|unfreeze_|use_mm_|image_|_|architectures$|auto_map$|transformers_version$)/;
  return Object.fromEntries(Object.entries(config).filter(([key]) => !own.test(key)));
}

function namedTower(name: string): Json {
  const size = /clip-vit-large-patch14(-336)?\/?$/.exec(name);
  if (size) return { model_type: 'clip_vision_model', ...largeTower, image_size: size[1] ? 336 : 224 };
  throw new ElasticCacheError(
    'missing-file',
    `config.json names the vision tower ${JSON.stringify(name)}: give its directory as visionTower (--vision-tower).`,
  );
}

/** CLIP's preparation of a picture: cut to its middle, or padded with the mean colour. */
function preprocessor(given: Json, size: number, padded: boolean): Json {
  const common = {
    do_resize: true,
    resample: 3,
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: given.image_mean ?? clipStatistics.image_mean,
    image_std: given.image_std ?? clipStatistics.image_std,
    do_convert_rgb: true,
  };
  if (!padded) {
    return {
      ...common,
      size: { shortest_edge: size },
      do_center_crop: true,
      crop_size: { height: size, width: size },
    };
  }
  // transformers.js's class that pads around the middle. It pads after normalising, when the mean colour is 0.
  return {
    ...common,
    image_processor_type: 'VLMImageProcessor',
    size: { longest_edge: size },
    image_size: size,
    background_color: [0, 0, 0],
  };
}

function firstFree({ added_tokens: added, model }: Json, vocabulary: number): number {
  const ids = Array.isArray(added) ? added.map(({ id }) => Number(id)) : [];
  const known = isJson(model) && isJson(model.vocab) ? Object.keys(model.vocab).length : 0;
  return ids.reduce((free, id) => Math.max(free, id + 1), Math.max(vocabulary, known));
}

function withToken(tokenizer: Json, content: string, id: number): Json {
  if (tokenId(tokenizer, content) !== undefined) return tokenizer;
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : [];
  const token = {
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  };
  return { ...tokenizer, added_tokens: [...added, token] };
}
