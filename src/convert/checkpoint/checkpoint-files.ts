import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { isJson, type Json } from './json.js';
import { qwenTokenizer } from './qwen-vl/tokenizer.js';
import type { TextSpec } from './text/spec.js';

/** The small files of a checkpoint, as far as they are there. */
export interface CheckpointFiles {
  readonly directory: string;
  readonly config: Json;
  readonly generation: Json | undefined;
  readonly preprocessor: Json | undefined;
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
  const found = await stat(directory).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new ElasticCacheError(
      'missing-file',
      `${directory} ${found ? 'is no directory' : 'is not there'}: give the directory of a Hugging Face checkpoint.`,
    );
  }
  const processor = (await json(directory, 'processor_config.json')) ?? {};
  const tokenizerConfig = await required(directory, 'tokenizer_config.json');
  const preprocessor = (await json(directory, 'preprocessor_config.json')) ?? processor.image_processor;
  return {
    directory,
    config: await required(directory, 'config.json'),
    generation: await json(directory, 'generation_config.json'),
    preprocessor: isJson(preprocessor) ? preprocessor : undefined,
    processor,
    tokenizer:
      withVocabulary(await json(directory, 'tokenizer.json')) ??
      (await qwenTokenizer(directory)) ??
      (await withoutTokenizer(directory)),
    tokenizerConfig,
    chatTemplate:
      tokenizerConfig.chat_template ??
      (await readFile(join(directory, 'chat_template.jinja'), 'utf8').catch(() => undefined)) ??
      (await json(directory, 'chat_template.json'))?.chat_template ??
      processor.chat_template,
  };
}

/** What the directory of a CLIP model says of its tower and of pictures. */
export async function readTowerFiles(
  directory: string,
): Promise<{ vision: Json; preprocessor: Json | undefined }> {
  const config = await required(directory, 'config.json');
  return {
    vision: isJson(config.vision_config) ? config.vision_config : config,
    preprocessor: await json(directory, 'preprocessor_config.json'),
  };
}

/** What transformers.js needs beside the graphs. */
export interface TransformersJsOptions {
  /** transformers.js's name of the precision to load when none is asked for. */
  readonly dtype: string;
  /** Data files by the name of their ONNX file. */
  readonly dataFiles: Readonly<Record<string, number>>;
}

/** What a decoder's part of config.json says, spelled out: transformers.js has no defaults of its own. */
export function textConfig(text: TextSpec): Json {
  return {
    vocab_size: text.vocabulary,
    hidden_size: text.hidden,
    intermediate_size: text.intermediate,
    num_hidden_layers: text.layers,
    num_attention_heads: text.queryHeads,
    num_key_value_heads: text.kvHeads,
    head_dim: text.headDim,
    max_position_embeddings: text.positions,
    rms_norm_eps: text.epsilon,
    rope_theta: text.rotary.theta,
  };
}

/** The files that say how a model generates and how its text becomes tokens. */
export function textFiles(files: CheckpointFiles): Record<string, Json> {
  const { chatTemplate } = files;
  return {
    'generation_config.json': files.generation ?? generationConfig(files),
    'tokenizer.json': files.tokenizer,
    'tokenizer_config.json': {
      ...files.tokenizerConfig,
      ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
    },
  };
}

/** Writes each as a JSON file into a directory. */
export async function writeJsonFiles(
  directory: string,
  files: Readonly<Record<string, Json>>,
): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(directory, name), `${JSON.stringify(content, null, 2)}\n`);
  }
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

/**
 * Makes sure that the token that stands for an image has the id that config.json says.
 * @param entry of config.json
 * @throws ElasticCacheError 'invalid-checkpoint' with the two numbers that disagree.
 */
export function checkImageToken(
  { tokenizer }: Pick<CheckpointFiles, 'tokenizer'>,
  token: string,
  entry: string,
  wanted: number,
): void {
  const id = tokenId(tokenizer, token);
  if (id === wanted) return;
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `config.json has ${entry} ${wanted}, but tokenizer.json ${id === undefined ? `has no token "${token}"` : `gives "${token}" the id ${id}`}: use the tokenizer that belongs to this model.`,
  );
}

/** The id of a token by its text. */
export function tokenId(tokenizer: Json, content: string): number | undefined {
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens.filter(isJson) : [];
  const id = added.find((token) => token.content === content)?.id;
  if (typeof id === 'number') return id;
  const vocabulary = isJson(tokenizer.model) ? tokenizer.model.vocab : undefined;
  if (!isJson(vocabulary) || !Object.hasOwn(vocabulary, content)) return undefined;
  return Number(vocabulary[content]);
}

/** @throws ElasticCacheError 'invalid-checkpoint' for a tokenizer.json that is none. */
function withVocabulary(tokenizer: Json | undefined): Json | undefined {
  const { vocab } = Object(tokenizer?.model) as { vocab?: unknown };
  if (!tokenizer || isJson(vocab) || Array.isArray(vocab)) return tokenizer;
  throw new ElasticCacheError(
    'invalid-checkpoint',
    'tokenizer.json has no vocabulary (model.vocab): download it again.',
  );
}

/** @throws ElasticCacheError 'missing-file', always. */
async function withoutTokenizer(directory: string): Promise<never> {
  const slow = await readFile(join(directory, 'tokenizer.model')).catch(() => undefined);
  if (slow === undefined) missing(directory, 'tokenizer.json');
  throw new ElasticCacheError(
    'missing-file',
    `${directory} has its tokens in tokenizer.model only, which transformers.js does not read: put the tokenizer.json of a model with the same tokens beside it (for LLaVA-1.5 that of llava-hf/llava-1.5-7b-hf), or make one in Python with AutoTokenizer.from_pretrained(...).save_pretrained(...).`,
  );
}

async function required(directory: string, name: string): Promise<Json> {
  return (await json(directory, name)) ?? missing(directory, name);
}

/** @throws ElasticCacheError 'missing-file', always. */
export function missing(directory: string, name: string): never {
  throw new ElasticCacheError(
    'missing-file',
    `${directory} has no ${name}: give a whole Hugging Face checkpoint directory, tokenizer and configs included.`,
  );
}

async function json(directory: string, name: string): Promise<Json | undefined> {
  const text = await readFile(join(directory, name), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    // Windows' editors write a byte order mark.
    const content: unknown = JSON.parse(text.replace(/^\uFEFF/, ''));
    if (isJson(content)) return content;
  } catch {}
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `${join(directory, name)} is not a JSON object: download it again.`,
  );
}
