import { RawImage } from '@huggingface/transformers';
import sharp, { type SharpOptions } from 'sharp';
import { ElasticCacheError, reasonOf } from '../../errors.js';

/** Largest image that is read, in pixels: decoded it takes three bytes a pixel. */
export const MAX_PIXELS = 100e6;
/** Seconds that decoding may take: a small SVG can ask for any amount of work. */
const MOST_SECONDS = 60;

/**
 * Decodes the bytes of an image file (PNG, JPEG, WebP, GIF, AVIF, TIFF, SVG) as RGB [height, width, 3], the way up that its EXIF data says. What is
 * transparent is laid on white. From bytes, not from a path: an SVG would then draw pictures that lie beside it.
 * @param name what errors call it
 * @throws ElasticCacheError `invalid-image` (empty, damaged, no image, more than {@link MAX_PIXELS})
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<RawImage> {
  if (bytes.length === 0) throw invalid(`${name} is empty (0 bytes); save or download it again`);
  // The header is read first, so that an image of absurd size is refused before anything is decoded.
  const { width, height } = await sharp(bytes, { limitInputPixels: false })
    .metadata()
    .catch((cause: unknown) => {
      if (isHeic(bytes)) throw heic(name, cause);
      throw invalid(`${name} is not an image that can be read (${firstLine(cause)})`, cause);
    });
  if (width * height > MAX_PIXELS) {
    throw invalid(
      `${name} has ${width} x ${height} pixels and at most ${MAX_PIXELS / 1e6} million are read; scale it down`,
    );
  }
  // Viewers show an image whose decoder only warns; one that breaks off is refused, since an answer would be about a part of it.
  const decoded = await pixelsOf(bytes, 'error')
    .catch((cause: unknown) => {
      if (!isJpeg(bytes)) throw cause;
      // Nothing may be missing but the mark of its end; whatever else is makes libjpeg warn.
      return pixelsOf(Buffer.concat([bytes, END_OF_JPEG]), 'warning').catch(() => Promise.reject(cause));
    })
    .catch((cause: unknown) => {
      if (isHeic(bytes)) throw heic(name, cause);
      throw invalid(`${name} is damaged and cannot be decoded (${firstLine(cause)})`, cause);
    });
  return new RawImage(new Uint8ClampedArray(decoded.data), decoded.info.width, decoded.info.height, 3);
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

/** Whether an ISO media file (ISO/IEC 23008-12) says that its pictures are compressed as HEVC, whose decoder is not free to ship. */
function isHeic(bytes: Uint8Array): boolean {
  const head = String.fromCharCode(...bytes.subarray(4, 64));
  return (
    head.startsWith('ftyp') && /heic|heix|heim|heis|hevc|hevx|mif1|msf1/.test(head) && !/avi[fs]/.test(head)
  );
}

function heic(name: string, cause: unknown): ElasticCacheError {
  return invalid(
    `${name} is a HEIC picture, as phones save them, which cannot be read here; convert it to JPEG or PNG`,
    cause,
  );
}

function firstLine(cause: unknown): string {
  return reasonOf(cause).split('\n', 1)[0]!;
}

function invalid(message: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('invalid-image', `${message}.`, { cause });
}
