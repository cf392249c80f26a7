import type { RawImage } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';

/** Pixels that a processor may make of an image: as floats they take twelve bytes each, several times over. */
const MOST_PIXELS = 25e6;

/** What a processor of transformers.js tells of the sizes that it makes. */
export interface SizedProcessor {
  do_resize?: boolean;
  size?: unknown;
  get_resize_output_image_size?(image: RawImage, size: unknown): readonly number[];
  do_center_crop?: boolean;
  crop_size?: unknown;
  do_pad?: boolean;
  pad_size?: unknown;
  /** Tiles. */
  max_image_size?: unknown;
}

type Size = readonly [width: number, height: number];

/**
 * Refuses an image that a processor would blow up, before it does: scaled until its short side is 336 pixels, a strip of 20,000 by 1 becomes 2.3 thousand
 * million pixels.
 * @throws ElasticCacheError `invalid-image` with what it would become; `invalid-model` where any image would become so large, or nothing
 */
export function refuseBlownUp(processor: SizedProcessor, image: RawImage, name: string): void {
  const wrong = preparedSizes(processor, image).find(isOutOfBounds);
  if (!wrong) return;
  const pixels = wrong.map((side) => Math.round(side).toLocaleString('en')).join(' x ');
  const square = { width: 336, height: 336, size: [336, 336] } as RawImage;
  if (preparedSizes(processor, square).some(isOutOfBounds)) {
    throw new ElasticCacheError(
      'invalid-model',
      `The model's preprocessor_config.json makes ${pixels} pixels of ${name}; its sizes must be those that the model was made for, fetch it again.`,
    );
  }
  throw new ElasticCacheError(
    'invalid-image',
    `${name} is too long and narrow: this model would need it as ${pixels} pixels; crop it, or put it on a wider ground.`,
  );
}

function isOutOfBounds([width, height]: Size): boolean {
  return !(width >= 1 && height >= 1 && width * height <= MOST_PIXELS);
}

/** What an image becomes step by step, until it is cut into tiles. */
function preparedSizes(processor: SizedProcessor, image: RawImage): Size[] {
  const sizes: Size[] = [[image.width, image.height]];
  const last = () => sizes.at(-1)!;
  if (processor.do_resize && processor.get_resize_output_image_size) {
    sizes.push(processor.get_resize_output_image_size(image, processor.size) as Size);
  }
  if (processor.do_center_crop) sizes.push(sidesOf(processor.crop_size, last()));
  if (processor.do_pad && processor.pad_size !== undefined) sizes.push(sidesOf(processor.pad_size, last()));
  const tile = (processor.max_image_size as { longest_edge?: unknown } | undefined)?.longest_edge;
  if (typeof tile === 'number') {
    const [width, height] = last();
    sizes.push([Math.ceil(width / tile) * tile, Math.ceil(height / tile) * tile]);
  }
  // What an image has of itself is bounded where it is read.
  return sizes.slice(1);
}

/** A size as configs have it: one number, two, or `square`; others are of one family, which adds less than a tile. */
function sidesOf(size: unknown, [width, height]: Size): Size {
  if (typeof size === 'number') return [size, size];
  if (size === 'square') return [Math.max(width, height), Math.max(width, height)];
  const given = Object(size) as { width?: unknown; height?: unknown };
  return [Number(given.width ?? width), Number(given.height ?? height)];
}
