import { PixtralProcessor, type PreTrainedModel } from '@huggingface/transformers';
import { isOfTextAlone } from '../model-class.js';
import { type Family, firstToken, imageMark, llavaPrompt, processorOf, withoutSeenRows } from './family.js';
import { gemma3, paligemma } from './gemma.js';
import { idefics3 } from './idefics3.js';
import { imageTokenId } from './image-token.js';
import { llava, moondream } from './llava.js';
import { mistral3 } from './mistral3.js';
import { phi3V } from './phi3-v.js';
import { equalPictures } from './pictures.js';
import { qwenVl } from './qwen-vl.js';
import { text } from './text.js';

/** Any other family: what its processor makes of text and images, one picture to a row of `pixel_values`. */
const other: Family = {
  mark: imageMark,
  plainPrompt: llavaPrompt,
  inputs(loaded, text, images) {
    const processor = processorOf(loaded, firstToken(loaded, text));
    const pictures = images.length === 1 ? images[0] : [...images];
    // Of Mistral 3 and LightOnOCR; every other processor left takes the text first.
    return loaded.processor instanceof PixtralProcessor
      ? processor(pictures, text)
      : processor(text, pictures);
  },
  unseenImages: withoutSeenRows,
  pictures: equalPictures,
};

const FAMILIES: Readonly<Record<string, Family>> = {
  llava,
  llava_onevision: llava,
  llava_qwen2: llava,
  moondream1: moondream,
  qwen2_vl: qwenVl,
  qwen2_5_vl: qwenVl,
  idefics3,
  smolvlm: idefics3,
  paligemma,
  gemma3,
  phi3_v: phi3V,
  mistral3,
};

/** The family of a model by the `model_type` of its config. */
export function familyOf(modelType: string | null | undefined): Family {
  const type = modelType ?? '';
  return FAMILIES[type] ?? (isOfTextAlone(type) ? text : other);
}

/** Tells the tokens whose places in a prompt a model's images take; undefined when nothing says which these are. */
export function imageTokensOf(model: Pick<PreTrainedModel, 'config'>): ((id: bigint) => boolean) | undefined {
  const token = BigInt(imageTokenId({ model }));
  const one = token < 0n ? undefined : (id: bigint) => id === token;
  return familyOf(model.config.model_type).isImageToken ?? one;
}
