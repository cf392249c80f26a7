import { RawImage } from '@huggingface/transformers';

/** A picture of one colour: how it is scaled, which browsers do otherwise, makes no difference. */
export function plain(...colour: [number, number, number]): RawImage {
  const data = Uint8ClampedArray.from({ length: 32 * 32 * 3 }, (_, i) => colour[i % 3]!);
  return new RawImage(data, 32, 32, 3);
}
