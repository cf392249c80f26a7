import {
  type CheckpointFiles,
  checkImageToken,
  type TransformersJsOptions,
  textConfig,
  tokenId,
} from '../checkpoint-files.js';
import type { Json } from '../json.js';
import { clipStatistics } from '../llava/files.js';
import type { QwenVlSpec } from './spec.js';

const imageToken = '<imgpad>';
/** Pictures of a message are numbered, each with a line of its own, as the original's `from_list_format` writes them. */
const content = `{% set pictures = namespace(count=0) %}{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}{% set pictures.count = pictures.count + 1 %}{{ 'Picture ' ~ pictures.count ~ ': <img>${imageToken}</img>\\n' }}{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}`;
/** Of Qwen-VL-Chat, whose messages are ChatML. */
const chatTemplate = `{% for message in messages %}{% if loop.first and message.role != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{ '<|im_start|>' + message.role + '\\n' }}${content}{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;
/** Of Qwen-VL, which goes on with what it is given. */
const plainTemplate = `{% for message in messages %}${content}{{ eos_token if message.role == 'assistant' }}{% endfor %}`;

/** @throws ElasticCacheError 'invalid-checkpoint' when the tokenizer is another model's. */
export function checkQwenVlFiles(files: CheckpointFiles, { imageToken: id }: QwenVlSpec): void {
  checkImageToken(files, imageToken, 'visual.image_start_id + 2 =', id);
}

/**
 * Every file of a transformers.js model directory but the graphs. transformers.js has no class of Qwen-VL's name; what its class of LLaVA does
 * is what Qwen-VL needs: rows of a vision encoder in the places of a token, and a decoder.
 */
export function qwenVlFiles(
  files: CheckpointFiles,
  { vision, pool, text, imageToken: id }: QwenVlSpec,
  { dtype, dataFiles }: TransformersJsOptions,
): Record<string, Json> {
  // A Qwen-VL-Chat says so in generation_config.json.
  const chats = files.generation?.chat_format !== 'raw';
  const idOf = (token: string) => tokenId(files.tokenizer, token);
  const end = '<|endoftext|>';
  const { stages = [] } = text.rotary;
  const side = { height: vision.imageSize, width: vision.imageSize };
  const { chat_format: _format, max_window_size: _window, ...generation } = files.generation ?? {};
  return {
    'config.json': {
      architectures: ['LlavaForConditionalGeneration'],
      model_type: 'llava',
      image_token_index: id,
      tie_word_embeddings: text.tied,
      text_config: {
        model_type: 'llama',
        ...textConfig(text),
        ...(stages.length > 1 && { rope_stages: stages }),
      },
      vision_config: {
        hidden_size: vision.hidden,
        image_size: vision.imageSize,
        patch_size: vision.patchSize,
      },
      'transformers.js_config': { dtype, use_external_data_format: dataFiles },
    },
    'preprocessor_config.json': {
      image_processor_type: 'CLIPImageProcessor',
      processor_class: 'LlavaProcessor',
      do_convert_rgb: true,
      do_resize: true,
      size: side,
      resample: 3,
      do_center_crop: false,
      do_rescale: true,
      rescale_factor: 1 / 255,
      do_normalize: true,
      ...clipStatistics,
    },
    'processor_config.json': {
      processor_class: 'LlavaProcessor',
      image_token: imageToken,
      // Of the squares that a picture has one token for.
      patch_size: vision.imageSize / Math.sqrt(pool.queries),
      num_additional_image_tokens: 0,
    },
    'tokenizer.json': files.tokenizer,
    'generation_config.json': {
      ...generation,
      eos_token_id: [end, ...(chats ? ['<|im_end|>', '<|im_start|>'] : [])].map(idOf),
      pad_token_id: idOf(end),
    },
    'tokenizer_config.json': {
      model_max_length: files.tokenizerConfig.model_max_length ?? text.positions,
      tokenizer_class: 'Qwen2Tokenizer',
      eos_token: chats ? '<|im_end|>' : end,
      pad_token: end,
      clean_up_tokenization_spaces: false,
      chat_template: files.chatTemplate ?? (chats ? chatTemplate : plainTemplate),
    },
  };
}
