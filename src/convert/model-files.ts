import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError } from '../errors.js';
import type { LlavaSpec } from './llava-spec.js';

export type Json = Readonly<Record<string, unknown>>;

/** The small files of a checkpoint, as far as they are there. */
export interface CheckpointFiles {
  readonly config: Json;
  readonly generation: Json | undefined;
  readonly preprocessor: Json;
  readonly processor: Json;
  readonly tokenizer: Json;
  readonly tokenizerConfig: Json;
  readonly chatTemplate: unknown;
}

/**
 * Reads the small files of a Hugging Face checkpoint, in the older and the newer arrangement: image processor and chat
 * template in files of their own or inside another.
 * @throws ElasticCacheError 'missing-file' or 'invalid-checkpoint' naming the file.
 */
export async function readCheckpointFiles(directory: string): Promise<CheckpointFiles> {
  const processor = (await json(directory, 'processor_config.json')) ?? {};
  const tokenizerConfig = await required(directory, 'tokenizer_config.json');
  const preprocessor = (await json(directory, 'preprocessor_config.json')) ?? processor.image_processor;
  return {
    config: await required(directory, 'config.json'),
    generation: await json(directory, 'generation_config.json'),
    preprocessor: isJson(preprocessor) ? preprocessor : await required(directory, 'preprocessor_config.json'),
    processor,
    tokenizer: await required(directory, 'tokenizer.json'),
    tokenizerConfig,
    chatTemplate:
      tokenizerConfig.chat_template ??
      (await readFile(join(directory, 'chat_template.jinja'), 'utf8').catch(() => undefined)) ??
      (await json(directory, 'chat_template.json'))?.chat_template ??
      processor.chat_template,
  };
}

/**
 * Makes sure that the tokenizer and the image processor fit the model.
 * @throws ElasticCacheError 'invalid-checkpoint' with the two numbers that disagree.
 */
export function checkFiles(files: CheckpointFiles, spec: LlavaSpec): void {
  const name = imageTokenOf(files);
  const id = tokenId(files.tokenizer, name);
  if (id !== spec.imageToken) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `config.json has image_token_index ${spec.imageToken}, but tokenizer.json ${id === undefined ? `has no token "${name}"` : `gives "${name}" the id ${id}`}: use the tokenizer that belongs to this model.`,
    );
  }
  const { crop_size: crop, size } = files.preprocessor;
  for (const [key, value] of Object.entries(isJson(crop) ? crop : isJson(size) ? size : {})) {
    if ((key === 'height' || key === 'width') && value !== spec.vision.imageSize) {
      throw new ElasticCacheError(
        'invalid-checkpoint',
        `preprocessor_config.json makes images of ${key} ${value}, but the vision tower takes ${spec.vision.imageSize}: use the preprocessor_config.json that belongs to this model.`,
      );
    }
  }
}

/** What transformers.js needs beside the graphs. */
export interface TransformersJsOptions {
  /** transformers.js's name of the precision to load when none is asked for. */
  readonly dtype: string;
  /** Data files by the name of their ONNX file. */
  readonly dataFiles: Readonly<Record<string, number>>;
}

/** Writes every file of a transformers.js model directory but the graphs. */
export async function writeModelFiles(
  directory: string,
  files: CheckpointFiles,
  spec: LlavaSpec,
  options: TransformersJsOptions,
): Promise<void> {
  const { chatTemplate } = files;
  const outputs: Record<string, Json> = {
    'config.json': modelConfig(files.config, spec, options),
    'generation_config.json': files.generation ?? generationConfig(files),
    'preprocessor_config.json': {
      ...files.preprocessor,
      image_processor_type: 'CLIPImageProcessor',
      // Without it transformers.js makes an image processor that has no tokenizer.
      processor_class: 'LlavaProcessor',
    },
    'processor_config.json': {
      processor_class: 'LlavaProcessor',
      image_token: imageTokenOf(files),
      patch_size: spec.vision.patchSize,
      vision_feature_select_strategy: spec.vision.dropClassToken ? 'default' : 'full',
      // transformers.js adds this to the number of patches and, unlike Python's processor, never takes the class token off again.
      num_additional_image_tokens: spec.vision.dropClassToken ? 0 : 1,
    },
    'tokenizer.json': files.tokenizer,
    'tokenizer_config.json': {
      ...files.tokenizerConfig,
      ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
    },
  };
  for (const [name, content] of Object.entries(outputs)) {
    await writeFile(join(directory, name), `${JSON.stringify(content, null, 2)}\n`);
  }
}

/** transformers.js has no defaults of its own: everything it reads is spelled out. */
function modelConfig(config: Json, spec: LlavaSpec, options: TransformersJsOptions): Json {
  const { text, vision } = spec;
  return {
    ...config,
    architectures: ['LlavaForConditionalGeneration'],
    image_token_index: spec.imageToken,
    text_config: {
      ...(isJson(config.text_config) ? config.text_config : {}),
      model_type: 'llama',
      vocab_size: text.vocabulary,
      hidden_size: text.hidden,
      intermediate_size: text.intermediate,
      num_hidden_layers: text.layers,
      num_attention_heads: text.queryHeads,
      num_key_value_heads: text.kvHeads,
      head_dim: text.headDim,
      max_position_embeddings: text.positions,
      rms_norm_eps: text.epsilon,
      rope_theta: text.ropeTheta,
    },
    vision_config: {
      ...(isJson(config.vision_config) ? config.vision_config : {}),
      model_type: 'clip_vision_model',
      hidden_size: vision.hidden,
      image_size: vision.imageSize,
      patch_size: vision.patchSize,
    },
    'transformers.js_config': { dtype: options.dtype, use_external_data_format: options.dataFiles },
  };
}

function generationConfig({ config, tokenizer, tokenizerConfig }: CheckpointFiles): Json {
  const text = isJson(config.text_config) ? config.text_config : {};
  const id = (name: 'bos_token' | 'eos_token' | 'pad_token') => {
    const token = tokenizerConfig[name];
    const content = isJson(token) ? token.content : token;
    return (
      text[`${name}_id`] ??
      config[`${name}_id`] ??
      (typeof content === 'string' ? tokenId(tokenizer, content) : undefined)
    );
  };
  return { bos_token_id: id('bos_token'), eos_token_id: id('eos_token'), pad_token_id: id('pad_token') };
}

function imageTokenOf({ processor }: CheckpointFiles): string {
  return typeof processor.image_token === 'string' ? processor.image_token : '<image>';
}

function tokenId(tokenizer: Json, content: string): number | undefined {
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens.filter(isJson) : [];
  const id = added.find((token) => token.content === content)?.id;
  if (typeof id === 'number') return id;
  const vocabulary = isJson(tokenizer.model) ? tokenizer.model.vocab : undefined;
  if (!isJson(vocabulary) || !Object.hasOwn(vocabulary, content)) return undefined;
  return Number(vocabulary[content]);
}

async function required(directory: string, name: string): Promise<Json> {
  const content = await json(directory, name);
  if (content) return content;
  throw new ElasticCacheError(
    'missing-file',
    `${directory} has no ${name}: give a whole Hugging Face checkpoint directory, tokenizer and configs included.`,
  );
}

async function json(directory: string, name: string): Promise<Json | undefined> {
  const text = await readFile(join(directory, name), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const content: unknown = JSON.parse(text);
    if (isJson(content)) return content;
  } catch {}
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `${join(directory, name)} is not a JSON object: download it again.`,
  );
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
