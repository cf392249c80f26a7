import { RawImage } from '@huggingface/transformers';
import { decodeImage, fetchImage, localImage } from '#platform/images.js';
import { ElasticCacheError, shown } from '../../errors.js';
import { refuseUnknown } from '../../options.js';
import { invalidImage, MAX_BYTES, WEB_ACCESS, type WebAccess } from '../../platform/images.js';
import { sizeName } from '../../size-name.js';
import { dataUrlBytes } from './data-url.js';
import { type ImageSource, nameImage, sourceName } from './image-source.js';
import { onWhite } from './on-white.js';

export { MAX_BYTES, MAX_PIXELS, type WebAccess } from '../../platform/images.js';
export type { ImageSource } from './image-source.js';

/** An image that is read: RGB [height, width, 3]. */
export type Image = RawImage;

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
  if (!WEB_ACCESS.includes(web)) {
    throw new ElasticCacheError(
      'invalid-option',
      `web is ${shown(web)}; choose one of ${WEB_ACCESS.join(', ')}.`,
    );
  }
  if (!isSource(source)) {
    throw invalidImage(
      `${name} cannot be read from ${source === null ? 'null' : `a value of type ${typeof source}`}; give a path, an address, bytes, a Blob or a RawImage`,
    );
  }
  if (source instanceof RawImage) return nameImage(onWhite(source), name);
  const { data, width, height, channels } = await decodeImage(await bytesOf(source, web, name), name);
  return nameImage(onWhite(new RawImage(data, width, height, channels)), name);
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
      if (!bytes)
        throw invalidImage(`${name} is not whole: a data URL is data:image/png;base64, and the bytes`);
      return bytes;
    }
    case 'http':
    case 'https':
      return fetchImage(address, web, name);
    default:
      return localImage(address, name, (bytes) => refuseTooLarge(bytes, name));
  }
}

function refuseTooLarge(bytes: number, name: string): void {
  if (bytes <= MAX_BYTES) return;
  throw invalidImage(
    `${name} has ${sizeName(bytes)} and at most ${sizeName(MAX_BYTES)} are read; save it smaller`,
  );
}

/** An image from its RGB bytes [height, width, 3]. */
export function imageOf(pixels: Uint8Array | Uint8ClampedArray, width: number, height: number): RawImage {
  return new RawImage(new Uint8ClampedArray(pixels), width, height, 3);
}
