import { RawImage } from '@huggingface/transformers';

/** A picture of 20 by 20 pixels. */
export function picture(seed: number): RawImage {
  return new RawImage(
    Uint8ClampedArray.from({ length: 1200 }, (_, i) => (i * seed) % 256),
    20,
    20,
    3,
  );
}
