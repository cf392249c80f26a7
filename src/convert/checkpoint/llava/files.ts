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
import type { LlavaSpec } from './spec.js';

/** What CLIP's pictures are normalised by. */
export const clipStatistics = {
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
};

/**
 * Makes sure that the tokenizer and the image processor fit the model.
 * @throws ElasticCacheError 'missing-file' without an image processor, 'invalid-checkpoint' with the two numbers that disagree.
 */
export function checkFiles(files: CheckpointFiles, spec: LlavaSpec): void {
  checkImageToken(files, imageTokenOf(files), 'image_token_index', spec.imageToken);
  const { crop_size: crop, size } = preprocessorOf(files);
  for (const [key, value] of Object.entries(isJson(crop) ? crop : isJson(size) ? size : {})) {
    if ((key === 'height' || key === 'width') && value !== spec.vision.imageSize) {
      throw new ElasticCacheError(
        'invalid-checkpoint',
        `preprocessor_config.json makes images of ${key} ${value}, but the vision tower takes ${spec.vision.imageSize}: use the preprocessor_config.json that belongs to this model.`,
      );
    }
  }
}

/** Every file of a transformers.js model directory but the graphs. */
export function llavaFiles(
  files: CheckpointFiles,
  spec: LlavaSpec,
  options: TransformersJsOptions,
): Record<string, Json> {
  return {
    'config.json': modelConfig(files.config, spec, options),
    'preprocessor_config.json': {
      ...preprocessorOf(files),
      image_processor_type: preprocessorOf(files).background_color
        ? 'VLMImageProcessor'
        : 'CLIPImageProcessor',
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
    ...textFiles(files),
  };
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
      ...textConfig(text),
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

function preprocessorOf({ directory, preprocessor }: CheckpointFiles): Json {
  return preprocessor ?? missing(directory, 'preprocessor_config.json');
}

function imageTokenOf({ processor }: CheckpointFiles): string {
  return typeof processor.image_token === 'string' ? processor.image_token : '<image>';
}
