import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { RawImage } from '@huggingface/transformers';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import { refuseUnknown } from '../../options.js';
import { sizeName } from '../files/sizes.js';
import { dataUrlBytes } from './data-url.js';
import { decodeImage } from './decode-image.js';
import { fetchImage } from './fetch-image.js';
import { type ImageSource, nameImage, sourceName } from './image-source.js';
import { onWhite } from './on-white.js';
import type { WebAccess } from './web-address.js';

export { MAX_PIXELS } from './decode-image.js';
export type { ImageSource } from './image-source.js';
export type { WebAccess } from './web-address.js';

/** An image that is read: RGB [height, width, 3]. */
export type Image = RawImage;

/** Bytes of an image at most, whatever it is read from. */
export const MAX_BYTES = 256e6;

export interface ReadImageOptions {
  /** Web addresses that may be asked; `local` unless told. Give `none` or `public` where the address comes from somebody else. */
  web?: WebAccess;
  /** What errors shall call it; its path or address, or its size, unless told. */
  name?: string;
}

/**
 * Reads an image (PNG, JPEG, WebP, GIF, AVIF, TIFF, SVG) as RGB [height, width, 3], the way up that its EXIF data says, what is transparent on white.
 * @param source a path; a `file:`, `data:`, `http:` or `https:` address; the bytes of a file; a Blob; or pixels, which become RGB as well. Who may name a path
 *   may read any file: pass on bytes, not texts, of people whom you do not know
 * @throws ElasticCacheError `missing-file`, `download-failed`, `invalid-image` (empty, damaged, no image, more than {@link MAX_PIXELS} or {@link MAX_BYTES})
 */
export async function readImage(source: ImageSource, options: ReadImageOptions = {}): Promise<RawImage> {
  refuseUnknown('readImage', options, ['web', 'name']);
  const { web = 'local', name = isSource(source) ? sourceName(source) : 'image' } = options;
  if (!isSource(source)) {
    throw invalid(
      `${name} cannot be read from ${source === null ? 'null' : `a value of type ${typeof source}`}; give a path, an address, bytes, a Blob or a RawImage`,
    );
  }
  if (source instanceof RawImage) return nameImage(onWhite(source), name);
  return nameImage(await decodeImage(await bytesOf(source, web, name), name), name);
}

function isSource(source: unknown): source is ImageSource {
  const kinds = [URL, Uint8Array, ArrayBuffer, Blob, RawImage];
  return typeof source === 'string' || kinds.some((kind) => source instanceof kind);
}

async function bytesOf(
  source: Exclude<ImageSource, RawImage>,
  web: WebAccess,
  name: string,
): Promise<Uint8Array> {
  if (typeof source === 'string' || source instanceof URL) return addressed(String(source), web, name);
  const size = source instanceof Blob ? source.size : source.byteLength;
  refuseTooLarge(size, name);
  return new Uint8Array(source instanceof Blob ? await source.arrayBuffer() : source);
}

async function addressed(address: string, web: WebAccess, name: string): Promise<Uint8Array> {
  const [, scheme = ''] = /^(data|file|https?):/i.exec(address) ?? [];
  switch (scheme.toLowerCase()) {
    case 'data': {
      const bytes = dataUrlBytes(address);
      if (!bytes) throw invalid(`${name} is not whole: a data URL is data:image/png;base64, and the bytes`);
      return bytes;
    }
    case 'http':
    case 'https':
      return fetchImage(address, web, name);
    case 'file':
      return fileBytes(pathOf(address, name), name);
    default:
      return fileBytes(address, name);
  }
}

function pathOf(url: string, name: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new ElasticCacheError('missing-file', `${name} names no file here (${reasonOf(cause)}).`, {
      cause,
    });
  }
}

async function fileBytes(path: string, name: string): Promise<Uint8Array> {
  const file = await stat(path).catch((cause: unknown) => {
    throw unopened(name, cause);
  });
  if (!file.isFile()) throw invalid(`${name} is not a file; give the path of one image`);
  refuseTooLarge(file.size, name);
  return readFile(path).catch((cause: unknown) => {
    throw unopened(name, cause);
  });
}

function unopened(name: string, cause: unknown): ElasticCacheError {
  return new ElasticCacheError('missing-file', `${name} cannot be opened; check the path.`, { cause });
}

function refuseTooLarge(bytes: number, name: string): void {
  if (bytes <= MAX_BYTES) return;
  throw invalid(
    `${name} has ${sizeName(bytes)} and at most ${sizeName(MAX_BYTES)} are read; save it smaller`,
  );
}

/** An image from its RGB bytes [height, width, 3]. */
export function imageOf(pixels: Uint8Array, width: number, height: number): RawImage {
  return new RawImage(new Uint8ClampedArray(pixels), width, height, 3);
}

function invalid(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-image', `${message}.`);
}
