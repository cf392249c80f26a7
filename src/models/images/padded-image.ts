import { RawImage } from '@huggingface/transformers';
import type { LoadedModel } from '../loaded-model.js';
import type { Image } from './read-image.js';

/** The colour that a model's processor takes for zero, each channel 0 to 255; grey where it says nothing. */
export function meanColour({ processor }: LoadedModel): number[] {
  const mean = (processor?.image_processor as { image_mean?: number[] } | undefined)?.image_mean;
  // Rounded down, as LLaVA's code does.
  return Array.from({ length: 3 }, (_, channel) => Math.floor(255 * (mean?.[channel] ?? 0.5)));
}

/** An image in the middle of a square of one colour, as LLaVA-1.5 was trained to see it: nothing of it is cut off. */
export function padded(image: Image, colour: readonly number[]): Image {
  const { width, height, channels, data } = image;
  if (width === height) return image;
  const side = Math.max(width, height);
  const [left, top] = [(side - width) >> 1, (side - height) >> 1];
  const square = new Uint8ClampedArray(side * side * channels);
  for (let i = 0; i < square.length; i++) square[i] = colour[i % channels]!;
  for (let row = 0; row < height; row++) {
    square.set(
      data.subarray(row * width * channels, (row + 1) * width * channels),
      ((top + row) * side + left) * channels,
    );
  }
  return new RawImage(square, side, side, channels);
}
