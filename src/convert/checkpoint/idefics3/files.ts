import { ElasticCacheError } from '../../../errors.js';
import {
  type CheckpointFiles,
  checkImageToken,
  missing,
  type TransformersJsOptions,
  textConfig,
  textFiles,
} from '../checkpoint-files.js';
import { isJson, type Json } from '../json.js';
import type { Idefics3Spec } from './spec.js';

const names = { idefics3: 'Idefics3', smolvlm: 'SmolVLM' } as const;
/** What transformers.js's processor puts into a text. */
const imageToken = '<image>';

/**
 * Makes sure that tokenizer and image processor fit the model.
 * @throws ElasticCacheError 'missing-file' without an image processor, 'invalid-checkpoint' with the two numbers that disagree.
 */
export function checkIdefics3Files(files: CheckpointFiles, spec: Idefics3Spec): void {
  checkImageToken(files, imageToken, 'image_token_id', spec.imageToken);
  const { max_image_size: tile } = files.preprocessor ?? missing(files.directory, 'preprocessor_config.json');
  const edge = isJson(tile) ? tile.longest_edge : undefined;
  if (edge !== spec.vision.imageSize) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `preprocessor_config.json makes tiles of ${edge} pixels (max_image_size), but the vision tower takes ${spec.vision.imageSize}: use the preprocessor_config.json that belongs to this model.`,
    );
  }
}

/** Every file of a transformers.js model directory but the graphs. */
export function idefics3Files(
  files: CheckpointFiles,
  { kind, vision, text, tokens, scale, imageToken: id }: Idefics3Spec,
  options: TransformersJsOptions,
): Record<string, Json> {
  const { config, preprocessor, processor } = files;
  const name = names[kind];
  return {
    'config.json': {
      ...config,
      architectures: [`${name}ForConditionalGeneration`],
      image_token_id: id,
      scale_factor: scale,
      text_config: {
        ...(isJson(config.text_config) ? config.text_config : {}),
        model_type: 'llama',
        ...textConfig(text),
      },
      vision_config: {
        ...(isJson(config.vision_config) ? config.vision_config : {}),
        hidden_size: vision.hidden,
        image_size: vision.imageSize,
        patch_size: vision.patchSize,
      },
      'transformers.js_config': { dtype: options.dtype, use_external_data_format: options.dataFiles },
    },
    'preprocessor_config.json': {
      ...preprocessor,
      image_processor_type: `${name}ImageProcessor`,
      processor_class: `${name}Processor`,
    },
    'processor_config.json': {
      ...processor,
      processor_class: `${name}Processor`,
      image_seq_len: tokens,
    },
    ...textFiles(files),
  };
}
