import { stat } from 'node:fs/promises';
import { RawImage } from '@huggingface/transformers';
import sharp from 'sharp';
import { ElasticCacheError, reasonOf } from '../errors.js';

/** Largest image that is read, in pixels: decoded it takes three bytes a pixel. */
export const MAX_PIXELS = 100e6;

/**
 * Reads an image file (PNG, JPEG, WebP, GIF, AVIF, TIFF, SVG) as RGB [height, width, 3], the way up that its EXIF data says.
 * @throws ElasticCacheError `missing-file`, `invalid-image` (empty, damaged, no image, more than {@link MAX_PIXELS})
 */
export async function readImage(path: string): Promise<RawImage> {
  await checkFile(path);
  // The header is read first, so that an image of absurd size is refused before anything is decoded.
  const { width, height } = await sharp(path, { limitInputPixels: false })
    .metadata()
    .catch((cause: unknown) => {
      throw invalid(`image ${path} is not an image that can be read (${firstLine(cause)})`, cause);
    });
  if (width * height > MAX_PIXELS) {
    throw invalid(
      `image ${path} has ${width} x ${height} pixels and at most ${MAX_PIXELS / 1e6} million are read; scale it down`,
    );
  }
  const { data, info } = await sharp(path, { limitInputPixels: MAX_PIXELS })
    .autoOrient()
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => {
      throw invalid(`image ${path} is damaged and cannot be decoded (${firstLine(cause)})`, cause);
    });
  return new RawImage(new Uint8ClampedArray(data), info.width, info.height, 3);
}

/** An image from its RGB bytes [height, width, 3]. */
export function imageOf(pixels: Uint8Array, width: number, height: number): RawImage {
  return new RawImage(new Uint8ClampedArray(pixels), width, height, 3);
}

async function checkFile(path: string): Promise<void> {
  const file = await stat(path).catch((cause: unknown) => {
    throw new ElasticCacheError('missing-file', `image ${path} cannot be opened; check the path.`, { cause });
  });
  if (!file.isFile()) throw invalid(`image ${path} is not a file; give the path of one image`);
  if (file.size === 0) throw invalid(`image ${path} is empty (0 bytes); save or download it again`);
}

function firstLine(cause: unknown): string {
  return reasonOf(cause).split('\n', 1)[0]!;
}

function invalid(message: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('invalid-image', `${message}.`, { cause });
}
