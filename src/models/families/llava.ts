import { Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { LoadedModel } from '../loaded-model.js';
import { encode, type Family, type Inputs, imageMark, llavaPrompt, withoutSeenRows } from './family.js';
import { imageTokenId } from './image-token.js';
import { equalPictures } from './pictures.js';

/**
 * LLaVA-1.5, LLaVA-OneVision, Moondream, nanoLLaVA: each image takes as many tokens as the vision encoder gives rows.
 *
 * transformers.js has a processor for the first alone. It puts only the first of several images into the text, and counts
 * its tokens from a setting that is one too high in many repositories (576 and 577). For the others, image and text are
 * prepared apart, with one token for an image. So the rows are counted here, by a look at what the encoder gives.
 */
export const llava: Family = {
  mark: imageMark,
  plainPrompt: llavaPrompt,
  async inputs(loaded, text, images) {
    const { processor } = loaded;
    const pictures = await processor.image_processor!([...images]);
    const rows = await rowsOf(loaded, pictures.pixel_values);
    return { ...pictures, ...expanded(loaded, encode(loaded, text), rows, images.length) };
  },
  unseenImages: withoutSeenRows,
  pictures: equalPictures,
};

/** Moondream without the roles that LLaVA's prompt names. */
export const moondream: Family = {
  ...llava,
  plainPrompt: (marks, prompt) => `${marks.join('')}\n\nQuestion: ${prompt}\n\nAnswer:`,
};

/** Rows that a model's vision encoder gives for a picture, by the picture's dimensions. */
const known = new WeakMap<object, Map<string, number>>();

async function rowsOf({ model }: LoadedModel, pixels: Tensor): Promise<number> {
  const sizes = known.get(model) ?? new Map<string, number>();
  known.set(model, sizes);
  const size = pixels.dims.slice(1).join();
  let rows = sizes.get(size);
  if (rows === undefined) {
    const features: Tensor = await model.encode_image({ pixel_values: pixels.slice([0, 1]) });
    rows = features.size / features.dims.at(-1)!;
    sizes.set(size, rows);
  }
  return rows;
}

/** Tokens with each image token repeated `rows` times. */
function expanded(loaded: LoadedModel, { input_ids }: Inputs, rows: number, images: number) {
  const token = BigInt(imageTokenId(loaded));
  const parts = Array.from(input_ids.data as BigInt64Array, (id) => Array(id === token ? rows : 1).fill(id));
  const found = parts.filter(([id]) => id === token).length;
  if (found !== images) {
    throw new ElasticCacheError(
      'invalid-prompt',
      `The prompt has ${found} image tokens (id ${token}) for ${images} images; check that the tokenizer has the one that config.json names.`,
    );
  }
  const ids = BigInt64Array.from(parts.flat());
  const tensor = (data: BigInt64Array) => new Tensor('int64', data, [1, data.length]);
  return { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1n)) };
}
