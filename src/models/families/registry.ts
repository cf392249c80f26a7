import { Lfm2VlProcessor, PixtralProcessor } from '@huggingface/transformers';
import { counted, moondream } from './counted.js';
import { type Family, llavaPrompt, withoutSeen } from './family.js';
import { gemma3, paligemma } from './gemma.js';
import { idefics3 } from './idefics3.js';
import { qwenVl } from './qwen-vl.js';

/** Processors that take (images, text); the others take (text, images). */
const IMAGES_FIRST = [Lfm2VlProcessor, PixtralProcessor];

/** Any other family: what its processor makes of text and images, one picture to a row of `pixel_values`. */
const other: Family = {
  mark: ({ processor }) =>
    (processor.config as { image_token?: string } | undefined)?.image_token ?? '<image>',
  plainPrompt: llavaPrompt,
  inputs({ processor }, text, images) {
    const pictures = images.length === 1 ? images[0] : [...images];
    const imagesFirst = IMAGES_FIRST.some((Processor) => processor instanceof Processor);
    return imagesFirst ? processor(pictures, text) : processor(text, pictures);
  },
  unseenImages: (inputs, count) => withoutSeen(inputs, ['pixel_values'], 0, count),
};

const FAMILIES: Readonly<Record<string, Family>> = {
  llava: counted,
  llava_onevision: counted,
  llava_qwen2: counted,
  moondream1: moondream,
  qwen2_vl: qwenVl,
  qwen2_5_vl: qwenVl,
  idefics3,
  smolvlm: idefics3,
  paligemma,
  gemma3,
};

/** The family of a model by the `model_type` of its config. */
export function familyOf(modelType: string | null | undefined): Family {
  return FAMILIES[modelType ?? ''] ?? other;
}
