import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Model, serializeModel } from '../../src/graph/onnx/onnx.js';
import { CHATML_TEXT, GEMMA, QWEN_VL, SMOLVLM } from './chat-templates.js';
import {
  embedTokens,
  gridEncoder,
  llavaPictures,
  patchEncoder,
  pictures,
  tileEncoder,
  tokenizerFiles,
} from './tiny-parts.js';
import { phi3V } from './tiny-phi3-v.js';

/** A model directory of one family with random weights, as the Hub lays it out. */
export interface TinyFamily {
  /** Its class in transformers.js. */
  className: string;
  config: Record<string, unknown>;
  /** The session that makes embeddings, when it is not `embed_tokens`, and the decoder's, when it is not `decoder_model_merged`. */
  sessions?: { embeds: [name: string, model: () => Model]; decoder: string };
  vision: () => Model;
  /** The decoder: a file under test/ as an exporter wrote it. */
  decoder: string;
  files: Record<string, object | string>;
  /** Tokens of pictures of 20 by 20 pixels. */
  imageTokensOf: (images: number) => number;
}

const SIDE = 16;
const WORDS =
  'USER ASSISTANT User Assistant user assistant system model Question Answer You are a helpful : .'.split(
    ' ',
  );
const TEXT = {
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_size: 64,
  head_dim: 16,
};

function qwenVl(gridName: 'grid_thw' | 'image_grid_thw'): Omit<TinyFamily, 'className' | 'config'> {
  const special = [
    '<|endoftext|>',
    '<|im_start|>',
    '<|im_end|>',
    '<|vision_start|>',
    '<|vision_end|>',
    '<|image_pad|>',
  ];
  const sizes = { patch_size: 4, merge_size: 2, temporal_patch_size: 2, min_pixels: 64, max_pixels: 400 };
  return {
    vision: () => gridEncoder(3 * 2 * 4 * 4, gridName),
    decoder: 'families/fixtures/qwen2-vl.onnx',
    imageTokensOf: (images) => images * 4,
    files: {
      'preprocessor_config.json': pictures('Qwen2VLImageProcessor', SIDE, {
        ...sizes,
        processor_class: gridName === 'grid_thw' ? 'Qwen2VLProcessor' : 'Qwen2_5_VLProcessor',
      }),
      ...tokenizerFiles(special, WORDS, { chat_template: QWEN_VL }),
    },
  };
}

const QWEN_TOKENS = {
  vision_start_token_id: 3,
  vision_end_token_id: 4,
  image_token_id: 5,
  video_token_id: 98,
  vision_config: { spatial_merge_size: 2 },
};

/** Idefics3 and SmolVLM: tiles of 16 pixels, 4 tokens each. */
function idefics3(name: 'Idefics3' | 'SmolVLM', decoder: string): Omit<TinyFamily, 'className' | 'config'> {
  const tiles = ['<row_1_col_1>', '<row_1_col_2>', '<row_2_col_1>', '<row_2_col_2>'];
  const special = [
    '<|im_end|>',
    '<|im_start|>',
    '<end_of_utterance>',
    '<image>',
    '<fake_token_around_image>',
    '<global-img>',
  ];
  const size = { size: { longest_edge: 2 * SIDE }, max_image_size: { longest_edge: SIDE } };
  return {
    vision: () => tileEncoder(SIDE, 8),
    decoder,
    imageTokensOf: (images) => images * 5 * 4,
    files: {
      'preprocessor_config.json': pictures(`${name}ImageProcessor`, SIDE, {
        ...size,
        processor_class: `${name}Processor`,
      }),
      'processor_config.json': { image_seq_len: 4, processor_class: `${name}Processor` },
      ...tokenizerFiles([...special, ...tiles], WORDS, { chat_template: SMOLVLM }),
    },
  };
}

/** Families that image and text are prepared for apart. */
const APART = {
  vision: () => patchEncoder(SIDE, 4),
  imageTokensOf: (images: number) => images * 16,
};

/** Layers with a window, and others that see everything. */
function gemma3(decoder: string, sizes: object): TinyFamily {
  return {
    vision: () => patchEncoder(SIDE, 8),
    imageTokensOf: (images) => images * 4,
    className: 'Gemma3ForConditionalGeneration',
    config: {
      model_type: 'gemma3',
      image_token_index: 7,
      text_config: {
        ...TEXT,
        model_type: 'gemma3_text',
        ...sizes,
      },
    },
    decoder,
    files: {
      'preprocessor_config.json': pictures('Gemma3ImageProcessor', SIDE, {
        processor_class: 'Gemma3Processor',
        image_seq_length: 4,
      }),
      'processor_config.json': { processor_class: 'Gemma3Processor', image_seq_length: 4 },
      'chat_template.jinja': GEMMA,
      ...tokenizerFiles(
        [
          '<pad>',
          '<eos>',
          '<bos>',
          '<start_of_turn>',
          '<end_of_turn>',
          '<start_of_image>',
          '<end_of_image>',
          '<image_soft_token>',
        ],
        WORDS,
        {
          bos: '<bos>',
          boi_token: '<start_of_image>',
          eoi_token: '<end_of_image>',
          image_token: '<image_soft_token>',
        },
      ),
    },
  };
}

export const FAMILIES: Record<string, TinyFamily> = {
  'LLaVA-1.5': {
    ...APART,
    className: 'LlavaForConditionalGeneration',
    config: {
      model_type: 'llava',
      image_token_index: 3,
      text_config: { ...TEXT, model_type: 'llama', num_key_value_heads: 4 },
    },
    decoder: 'graph/fixtures/torch-eager.onnx',
    files: {
      'preprocessor_config.json': llavaPictures(SIDE),
      // One too high, as in the repository of llava-hf.
      'processor_config.json': {
        processor_class: 'LlavaProcessor',
        image_token: '<image>',
        patch_size: 4,
        num_additional_image_tokens: 1,
        vision_feature_select_strategy: 'default',
      },
      ...tokenizerFiles(['<unk>', '<s>', '</s>', '<image>'], WORDS, { bos: '<s>' }),
    },
  },
  'LLaVA-OneVision': {
    ...APART,
    className: 'LlavaOnevisionForConditionalGeneration',
    config: {
      model_type: 'llava_onevision',
      image_token_index: 3,
      text_config: { ...TEXT, model_type: 'qwen2' },
    },
    decoder: 'graph/fixtures/torch-sdpa-grouped.onnx',
    files: {
      'preprocessor_config.json': pictures('LlavaOnevisionImageProcessor', SIDE, {
        processor_class: 'LlavaOnevisionProcessor',
      }),
      ...tokenizerFiles(['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<image>'], WORDS, {
        chat_template: CHATML_TEXT,
      }),
    },
  },
  nanoLLaVA: {
    ...APART,
    className: 'LlavaQwen2ForCausalLM',
    config: { model_type: 'llava_qwen2', image_token_index: 3, ...TEXT },
    decoder: 'graph/fixtures/torch-sdpa-grouped.onnx',
    files: {
      'preprocessor_config.json': pictures('SiglipImageProcessor', SIDE),
      ...tokenizerFiles(['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<image>'], WORDS, {}),
    },
  },
  Moondream: {
    ...APART,
    className: 'Moondream1ForConditionalGeneration',
    config: {
      model_type: 'moondream1',
      image_token_index: 1,
      phi_config: { ...TEXT, model_type: 'phi', num_key_value_heads: 4 },
    },
    decoder: 'families/fixtures/phi.onnx',
    files: {
      'preprocessor_config.json': pictures('SiglipImageProcessor', SIDE),
      ...tokenizerFiles(['<|endoftext|>', '<image>'], WORDS, {}),
    },
  },
  'Qwen2-VL': {
    ...qwenVl('grid_thw'),
    className: 'Qwen2VLForConditionalGeneration',
    config: { model_type: 'qwen2_vl', ...TEXT, ...QWEN_TOKENS },
  },
  'Qwen2.5-VL': {
    ...qwenVl('image_grid_thw'),
    className: 'Qwen2_5_VLForConditionalGeneration',
    config: {
      model_type: 'qwen2_5_vl',
      text_config: { ...TEXT, model_type: 'qwen2_5_vl_text' },
      ...QWEN_TOKENS,
    },
  },
  Idefics3: {
    ...idefics3('Idefics3', 'graph/fixtures/torch-eager-grouped.onnx'),
    className: 'Idefics3ForConditionalGeneration',
    config: { model_type: 'idefics3', image_token_id: 3, text_config: { ...TEXT, model_type: 'llama' } },
  },
  SmolVLM: {
    ...idefics3('SmolVLM', 'graph/fixtures/genai-grouped.onnx'),
    className: 'SmolVLMForConditionalGeneration',
    config: { model_type: 'smolvlm', image_token_id: 3, text_config: { ...TEXT, model_type: 'llama' } },
  },
  'PaliGemma 2': {
    ...APART,
    className: 'PaliGemmaForConditionalGeneration',
    config: { model_type: 'paligemma', image_token_index: 3, text_config: { ...TEXT, model_type: 'gemma2' } },
    decoder: 'graph/fixtures/torch-softcap.onnx',
    files: {
      'preprocessor_config.json': pictures('SiglipImageProcessor', SIDE, {
        processor_class: 'PaliGemmaProcessor',
        image_seq_length: 16,
      }),
      ...tokenizerFiles(['<pad>', '<eos>', '<bos>', '<image>'], WORDS, { bos: '<bos>' }),
    },
  },
  'Gemma 3': gemma3('graph/fixtures/genai-windows.onnx', {
    num_hidden_layers: 6,
    num_attention_heads: 2,
    num_key_value_heads: 1,
  }),
  'Gemma 3 by Optimum': gemma3('graph/fixtures/optimum-onnx-gemma3-sdpa.onnx', {}),
  'Mistral 3': {
    vision: () => patchEncoder(SIDE, 8),
    imageTokensOf: (images) => images * 4,
    className: 'Mistral3ForConditionalGeneration',
    config: {
      model_type: 'mistral3',
      image_token_index: 3,
      text_config: { ...TEXT, model_type: 'mistral' },
    },
    decoder: 'graph/fixtures/torch-window.onnx',
    files: {
      'preprocessor_config.json': pictures('PixtralImageProcessor', SIDE, {
        processor_class: 'PixtralProcessor',
        size: { longest_edge: SIDE },
        patch_size: 8,
        spatial_merge_size: 1,
      }),
      'processor_config.json': {
        processor_class: 'PixtralProcessor',
        image_token: '[IMG]',
        image_break_token: '[IMG_BREAK]',
        image_end_token: '[IMG_END]',
        patch_size: 8,
        spatial_merge_size: 1,
      },
      ...tokenizerFiles(
        ['<unk>', '<s>', '</s>', '[IMG]', '[IMG_BREAK]', '[IMG_END]', '[INST]', '[/INST]'],
        WORDS,
        { bos: '<s>' },
      ),
    },
  },
  'Phi-3.5-vision': phi3V('graph/fixtures/genai-longrope.onnx'),
  'Phi-3.5-vision by torch.onnx': phi3V('graph/fixtures/torch-longrope.onnx'),
};

/** Writes the family's directory: configs, tokenizer, and three ONNX files. */
export async function writeTinyFamily(
  directory: string,
  { className, config, sessions, vision, decoder, files }: TinyFamily,
): Promise<void> {
  const onnx = join(directory, 'onnx');
  await mkdir(onnx, { recursive: true });
  const [embeds, makeEmbeds] = sessions?.embeds ?? ['embed_tokens', embedTokens];
  await writeFile(join(onnx, `${embeds}.onnx`), serializeModel(makeEmbeds()));
  await writeFile(join(onnx, 'vision_encoder.onnx'), serializeModel(vision()));
  await copyFile(
    new URL(`../${decoder}`, import.meta.url),
    join(onnx, `${sessions?.decoder ?? 'decoder_model_merged'}.onnx`),
  );
  const all = {
    'config.json': { architectures: [className], ...config },
    'generation_config.json': {},
    ...files,
  };
  for (const [name, content] of Object.entries(all)) {
    await writeFile(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
}
