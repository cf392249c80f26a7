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
import type { Qwen2VlSpec } from './spec.js';

const names = { qwen2_vl: 'Qwen2VL', qwen2_5_vl: 'Qwen2_5_VL' } as const;
/** What transformers.js's processor looks for in a text. */
const imageToken = '<|image_pad|>';

/**
 * Makes sure that tokenizer and image processor fit the model.
 * @throws ElasticCacheError 'missing-file' without an image processor, 'invalid-checkpoint' with the two numbers that disagree.
 */
export function checkQwen2VlFiles(files: CheckpointFiles, { vision, tokens }: Qwen2VlSpec): void {
  checkImageToken(files, imageToken, 'image_token_id', tokens.image_token_id);
  const preprocessor = files.preprocessor ?? missing(files.directory, 'preprocessor_config.json');
  const sizes = {
    patch_size: vision.patchSize,
    merge_size: vision.merge,
    temporal_patch_size: vision.frames,
  };
  for (const [key, value] of Object.entries(sizes)) {
    const given = preprocessor[key] ?? value;
    if (given === value) continue;
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `preprocessor_config.json has ${key} ${given}, but the vision tower takes ${value}: use the preprocessor_config.json that belongs to this model.`,
    );
  }
}

/** Every file of a transformers.js model directory but the graphs. */
export function qwen2VlFiles(
  files: CheckpointFiles,
  { kind, vision, text, tokens }: Qwen2VlSpec,
  options: TransformersJsOptions,
): Record<string, Json> {
  const { text_config: nested, ...config } = files.config;
  // transformers.js reads the decoder's numbers at the top for the one, in text_config for the other.
  const decoder =
    kind === 'qwen2_vl'
      ? textConfig(text)
      : {
          text_config: {
            ...(isJson(nested) ? nested : {}),
            model_type: 'qwen2_5_vl_text',
            ...textConfig(text),
          },
        };
  return {
    'config.json': {
      ...config,
      architectures: [`${names[kind]}ForConditionalGeneration`],
      ...decoder,
      ...tokens,
      vision_config: {
        ...(isJson(config.vision_config) ? config.vision_config : {}),
        patch_size: vision.patchSize,
        spatial_merge_size: vision.merge,
        temporal_patch_size: vision.frames,
      },
      'transformers.js_config': { dtype: options.dtype, use_external_data_format: options.dataFiles },
    },
    'preprocessor_config.json': {
      ...files.preprocessor,
      image_processor_type: 'Qwen2VLImageProcessor',
      processor_class: `${names[kind]}Processor`,
      patch_size: vision.patchSize,
      merge_size: vision.merge,
      temporal_patch_size: vision.frames,
    },
    ...textFiles(files),
  };
}
