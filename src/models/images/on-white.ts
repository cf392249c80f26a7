import { RawImage } from '@huggingface/transformers';
import { nameLike } from './image-source.js';

/**
 * An image as RGB [height, width, 3]: of grey the three are equal, and what is transparent is laid on white, as on a page. Left out, black
 * writing on nothing would be black on black. The very image where it is RGB.
 * @param image 1 (grey), 2 (grey, alpha), 3 or 4 (RGBA) channels
 */
export function onWhite(image: RawImage): RawImage {
  const { width, height, data, channels } = image;
  if (channels === 3) return image;
  const alpha = channels === 2 || channels === 4 ? channels - 1 : undefined;
  const rgb = new Uint8ClampedArray(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = pixel * channels;
    const shown = alpha === undefined ? 1 : data[at + alpha]! / 255;
    for (let part = 0; part < 3; part++) {
      const value = data[at + (channels < 3 ? 0 : part)]!;
      rgb[pixel * 3 + part] = value * shown + 255 * (1 - shown);
    }
  }
  return nameLike(new RawImage(rgb, width, height, 3), image);
}
