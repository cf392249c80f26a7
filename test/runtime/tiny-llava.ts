import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { graphOf, type Model, serializeModel } from '../../src/graph/onnx/onnx.js';
import { dimsOf, externalTensor } from '../../src/graph/onnx/tensors.js';
import { embedTokens, HIDDEN, llavaPictures, patchEncoder, tokenizerFiles } from '../families/tiny-parts.js';
import { buildGqaDecoder, type GqaDecoderOptions } from '../graph/gqa-decoder.js';

const SPECIAL = ['<unk>', '<s>', '</s>', '<image>'];
const VOCAB = SPECIAL.length + 90;
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
    embed_tokens: embedTokens(VOCAB),
    vision_encoder: patchEncoder(IMAGE, PATCH),
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
  'preprocessor_config.json': llavaPictures(IMAGE),
  'processor_config.json': {
    processor_class: 'LlavaProcessor',
    image_token: '<image>',
    patch_size: PATCH,
    num_additional_image_tokens: 0,
  },
  ...tokenizerFiles(SPECIAL, [], { vocab: VOCAB, bos_token: '<s>', eos_token: '</s>' }),
};
