import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GraphBuilder } from '../../src/graph/builder.js';
import { DataType, graphOf, type Model, serializeModel } from '../../src/graph/onnx.js';
import { dimsOf, externalTensor } from '../../src/graph/tensors.js';
import { buildGqaDecoder, type GqaDecoderOptions, gaussian } from '../graph/gqa-decoder.js';

const WORDS = 90;
const SPECIAL = ['<unk>', '<s>', '</s>', '<image>'];
const VOCAB = SPECIAL.length + WORDS;
const HIDDEN = 64;
const IMAGE = 16;
const PATCH = 4;

/** Tokens that one image takes. */
export const IMAGE_TOKENS = (IMAGE / PATCH) ** 2;
/** The id of the image token. */
export const IMAGE_TOKEN = SPECIAL.indexOf('<image>');
export const SHAPE = { layers: 2, kvHeads: 2, headDim: 16 };

/** Writes a LLaVA with random weights (2 layers, 4 query heads on 2 of 16) as transformers.js lays out a model. */
export async function writeTinyLlava(
  directory: string,
  options: Partial<GqaDecoderOptions> & { suffix?: string; weightsBeside?: boolean } = {},
): Promise<void> {
  const { suffix = '', weightsBeside = false, ...decoder } = options;
  await mkdir(join(directory, 'onnx'), { recursive: true });
  const graphs = {
    embed_tokens: embedTokens(),
    vision_encoder: visionEncoder(),
    decoder_model_merged: buildGqaDecoder({ hidden: HIDDEN, vocab: VOCAB, longest: 2048, ...decoder }),
  };
  for (const [name, model] of Object.entries(graphs)) {
    if (weightsBeside) await moveWeights(model, join(directory, 'onnx'), `${name}${suffix}.onnx_data`);
    await writeFile(join(directory, 'onnx', `${name}${suffix}.onnx`), serializeModel(model));
  }
  for (const [name, content] of Object.entries(JSONS)) {
    await writeFile(join(directory, name), JSON.stringify(content));
  }
  if (weightsBeside) {
    const config = { ...JSONS['config.json'], 'transformers.js_config': { use_external_data_format: true } };
    await writeFile(join(directory, 'config.json'), JSON.stringify(config));
  }
}

/** Moves what large models keep outside the .onnx file into a file beside it. */
async function moveWeights(model: Model, directory: string, file: string): Promise<void> {
  const { initializer } = graphOf(model);
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [at, tensor] of initializer.entries()) {
    const bytes = tensor.rawData;
    if (bytes.length < 256) continue;
    const place = { location: file, offset, length: bytes.length };
    initializer[at] = externalTensor(tensor.name, tensor.dataType, dimsOf(tensor), place);
    parts.push(bytes);
    offset += bytes.length;
  }
  await writeFile(join(directory, file), Buffer.concat(parts));
}

function embedTokens() {
  const g = GraphBuilder.create('embed_tokens', { '': 21 });
  g.input('input_ids', DataType.INT64, ['batch_size', 'sequence_length']);
  const table = g.float32('table', [VOCAB, HIDDEN], numbers(VOCAB * HIDDEN, 11));
  g.ops('Gather', [table, 'input_ids'], { outputs: ['inputs_embeds'] });
  g.output('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', HIDDEN]);
  return g.model;
}

function visionEncoder() {
  const g = GraphBuilder.create('vision_encoder', { '': 21 });
  g.input('pixel_values', DataType.FLOAT, ['batch_size', 3, IMAGE, IMAGE]);
  const weight = g.float32('weight', [HIDDEN, 3, PATCH, PATCH], numbers(HIDDEN * 3 * PATCH * PATCH, 12, 0.1));
  const patches = g.op('Conv', ['pixel_values', weight], { attributes: { strides: [PATCH, PATCH] } });
  const flat = g.op('Reshape', [patches, g.int64('flat', [3], [0, HIDDEN, -1])]);
  g.ops('Transpose', [flat], { attributes: { perm: [0, 2, 1] }, outputs: ['image_features'] });
  g.output('image_features', DataType.FLOAT, ['batch_size', IMAGE_TOKENS, HIDDEN]);
  return g.model;
}

function numbers(count: number, seed: number, scale = 1): number[] {
  const random = gaussian(seed);
  return Array.from({ length: count }, () => scale * random());
}

const VOCABULARY = Object.fromEntries(
  [...SPECIAL, ...Array.from({ length: WORDS }, (_, i) => `w${i}`)].map((word, id) => [word, id]),
);

const JSONS = {
  'config.json': {
    model_type: 'llava',
    architectures: ['LlavaForConditionalGeneration'],
    image_token_index: IMAGE_TOKEN,
    text_config: {
      model_type: 'llama',
      hidden_size: HIDDEN,
      num_hidden_layers: SHAPE.layers,
      num_attention_heads: 4,
      num_key_value_heads: SHAPE.kvHeads,
      head_dim: SHAPE.headDim,
      vocab_size: VOCAB,
    },
  },
  'generation_config.json': { bos_token_id: 1, pad_token_id: 0 },
  'preprocessor_config.json': {
    image_processor_type: 'CLIPImageProcessor',
    processor_class: 'LlavaProcessor',
    do_resize: true,
    size: { shortest_edge: IMAGE },
    do_center_crop: true,
    crop_size: { height: IMAGE, width: IMAGE },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: [0.5, 0.5, 0.5],
    image_std: [0.25, 0.25, 0.25],
    resample: 3,
  },
  'processor_config.json': {
    processor_class: 'LlavaProcessor',
    image_token: '<image>',
    patch_size: PATCH,
    num_additional_image_tokens: 0,
  },
  'tokenizer.json': {
    version: '1.0',
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: null,
    pre_tokenizer: { type: 'Whitespace' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab: VOCABULARY, unk_token: '<unk>' },
  },
  'tokenizer_config.json': {
    tokenizer_class: 'PreTrainedTokenizer',
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    pad_token: '<unk>',
  },
};
