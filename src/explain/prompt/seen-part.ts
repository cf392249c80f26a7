import type { Box } from './patch-grid.js';

/** What is read off a transformers.js image processor; each family fills in its own. */
export interface ImageProcessorFacts {
  readonly do_resize?: boolean;
  readonly do_center_crop?: boolean;
  readonly crop_size?: number | { width: number; height: number };
  readonly do_pad?: boolean;
  readonly pad_size?: number | { width: number; height: number };
  readonly size?: unknown;
  readonly merge_size?: number;
  /** As it was read; tokens of one picture where the processor counts them. */
  readonly config?: { readonly num_img_tokens?: number };
  get_resize_output_image_size(image: Photo, size: unknown): [width: number, height: number];
}

export interface Photo {
  readonly width: number;
  readonly height: number;
  /** [width, height] */
  readonly size: [number, number];
}

/** A tensor among a model's inputs. */
export type Shape = { readonly dims: readonly number[]; readonly data: ArrayLike<number | bigint> };

/**
 * What of the photo becomes the processed picture, in pixels of the photo. The processor resizes it, may cut out the middle and
 * may pad right and below.
 */
export function seenPart(processor: ImageProcessorFacts, photo: Photo): Box {
  const { do_resize, do_center_crop, crop_size, do_pad, pad_size, size } = processor;
  const [width, height] = do_resize ? processor.get_resize_output_image_size(photo, size) : photo.size;
  const cropped = do_center_crop ? edges(crop_size!) : { width, height };
  const padded = do_pad && pad_size ? edges(pad_size) : cropped;
  const [scaleX, scaleY] = [photo.width / width, photo.height / height];
  return {
    x: Math.floor((width - cropped.width) / 2) * scaleX,
    y: Math.floor((height - cropped.height) / 2) * scaleY,
    width: padded.width * scaleX,
    height: padded.height * scaleY,
  };
}

function edges(size: number | { width: number; height: number }): { width: number; height: number } {
  return typeof size === 'number' ? { width: size, height: size } : size;
}
