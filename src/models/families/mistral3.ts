import type { Tensor } from '@huggingface/transformers';
import { encode, type Family, imageMark, withoutSeenRows } from './family.js';
import { equalPictures } from './pictures.js';

/** Its processor, as transformers.js has it. */
interface PixtralProcessor {
  image_processor(images: readonly unknown[]): Promise<{ pixel_values: Tensor }>;
  config: {
    image_break_token: string;
    image_end_token: string;
    patch_size: number;
    spatial_merge_size: number;
  };
}

/** Mistral 3: an image is rows of image tokens, each with a token behind it that ends the row, the last with one that ends the image. Its processor writes that for the first image alone. */
export const mistral3: Family = {
  mark: imageMark,
  plainPrompt: (marks, prompt) => `[INST]${prompt}${marks.join('')}[/INST]`,
  async inputs(loaded, text, images) {
    const { image_processor, config } = loaded.processor as unknown as PixtralProcessor;
    const { pixel_values } = await image_processor([...images]);
    const mark = imageMark(loaded);
    return {
      ...encode(loaded, text.split(mark).join(imageText(mark, config, pixel_values.dims))),
      pixel_values,
    };
  },
  unseenImages: withoutSeenRows,
  pictures: equalPictures,
};

/** @param dims of the pictures, [.., height, width] */
function imageText(mark: string, config: PixtralProcessor['config'], dims: readonly number[]): string {
  const side = config.patch_size * config.spatial_merge_size;
  const [rows = 0, columns = 0] = dims.slice(-2).map((pixels) => Math.floor(pixels / side));
  const row = mark.repeat(columns);
  return new Array<string>(rows).fill(row).join(config.image_break_token) + config.image_end_token;
}
