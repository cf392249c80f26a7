import type { Tensor } from '@huggingface/transformers';

/** A picture among a model's inputs, or a part of one that is a picture to the encoder. */
export interface Picture {
  /** Its numbers, as they lie in memory. */
  data: Uint8Array;
  /** Image tokens that it takes in the text. */
  tokens: number;
}

/** Inputs of `generate()` with pictures among them. */
type Inputs = Record<string, unknown>;

/** The pictures of a tensor that has one in each place of its first `axes` axes, which take `all` tokens together, each as many. */
export function equalPictures(inputs: Inputs, all: number, axes = 1): Picture[] {
  const pixels = inputs.pixel_values as Tensor;
  const count = pixels.dims.slice(0, axes).reduce((product, size) => product * size, 1);
  const size = pixels.size / count;
  return Array.from({ length: count }, (_, at) => ({
    data: bytesOf(pixels, at * size, size),
    tokens: all / count,
  }));
}

/** A run of a tensor's numbers as they lie in memory. */
export function bytesOf({ data }: Tensor, start: number, length: number): Uint8Array {
  const { buffer, byteOffset, BYTES_PER_ELEMENT: size } = data as Float32Array;
  return new Uint8Array(buffer, byteOffset + start * size, length * size);
}
