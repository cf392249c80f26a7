import sharp, { type SharpOptions } from 'sharp';
import { reasonOf } from '../../../errors.js';
import { invalidImage, MAX_PIXELS, type Pixels, refuseEmpty, refuseManyPixels } from '../../images.js';
import { otherFormat } from '../../other-formats.js';

/** Seconds that decoding may take: a small SVG can ask for any amount of work. */
const MOST_SECONDS = 60;

/**
 * Decodes the bytes of an image file (PNG, JPEG, WebP, GIF, AVIF, TIFF, SVG) as RGB [height, width, 3], the way up that its EXIF data says. What is
 * transparent is laid on white. From bytes, not from a path: an SVG would then draw pictures that lie beside it.
 * @param name what errors call it
 * @param most pixels
 * @throws ElasticCacheError `invalid-image` (empty, damaged, no image, too many pixels)
 */
export async function decodeImage(bytes: Uint8Array, name: string, most = MAX_PIXELS): Promise<Pixels> {
  refuseEmpty(bytes, name);
  // The header is read first, so that an image of absurd size is refused before anything is decoded.
  const { width, height } = await sharp(bytes, { limitInputPixels: false })
    .metadata()
    .catch((cause: unknown) => {
      throw (
        otherFormat(bytes, name, cause) ??
        invalidImage(
          `${name} is not an image that can be read (${firstLine(cause)}); JPEG, PNG, WebP, GIF, AVIF, TIFF and SVG are`,
          cause,
        )
      );
    });
  refuseManyPixels(width, height, name, most);
  // Viewers show an image whose decoder only warns; one that breaks off is refused, since an answer would be about a part of it.
  const decoded = await pixelsOf(bytes, 'error')
    .catch((cause: unknown) => {
      if (!isJpeg(bytes)) throw cause;
      // Nothing may be missing but the mark of its end; whatever else is makes libjpeg warn.
      return pixelsOf(Buffer.concat([bytes, END_OF_JPEG]), 'warning').catch(() => Promise.reject(cause));
    })
    .catch((cause: unknown) => {
      throw (
        otherFormat(bytes, name, cause) ??
        invalidImage(`${name} is damaged and cannot be decoded (${firstLine(cause)})`, cause)
      );
    });
  const { info } = decoded;
  return { data: new Uint8ClampedArray(decoded.data), width: info.width, height: info.height, channels: 3 };
}

function pixelsOf(bytes: Uint8Array, failOn: NonNullable<SharpOptions['failOn']>) {
  return sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn })
    .timeout({ seconds: MOST_SECONDS })
    .autoOrient()
    .toColourspace('srgb')
    .flatten({ background: 'white' })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
}

const END_OF_JPEG = Uint8Array.of(0xff, 0xd9);

function isJpeg(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8;
}

function firstLine(cause: unknown): string {
  return reasonOf(cause).split('\n', 1)[0]!;
}
