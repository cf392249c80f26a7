import { ElasticCacheError, reasonOf } from '../../errors.js';
import { sizeName } from '../../size-name.js';
import {
  invalidImage,
  MAX_WEB_BYTES,
  MOST_WEB_TIME,
  NO_WEB,
  notFetched,
  type Pixels,
  refuseEmpty,
  refuseManyPixels,
  type WebAccess,
} from '../images.js';
import { otherFormat } from '../other-formats.js';

/**
 * Decodes the bytes of an image file, in whatever format the browser shows, the way up that its EXIF data says.
 * @param name what errors call it
 * @returns RGBA [height, width, 4]
 * @throws ElasticCacheError `invalid-image` (empty, damaged, no image, too many pixels)
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<Pixels> {
  refuseEmpty(bytes, name);
  const bitmap = await createImageBitmap(new Blob([bytes.slice()]), { premultiplyAlpha: 'none' }).catch(
    (cause: unknown) => {
      throw (
        otherFormat(bytes, name, cause) ??
        invalidImage(
          `${name} is not an image that this browser can read, or damaged (${reasonOf(cause)})`,
          cause,
        )
      );
    },
  );
  const { width, height } = bitmap;
  try {
    refuseManyPixels(width, height, name);
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
    context.drawImage(bitmap, 0, 0);
    return { data: context.getImageData(0, 0, width, height).data, width, height, channels: 4 };
  } finally {
    bitmap.close();
  }
}

/**
 * Fetches the bytes behind an `http:` or `https:` address, as far as the browser lets the page.
 * @param name what errors call the image
 * @throws ElasticCacheError `download-failed`: not allowed, not there, too large, too slow
 */
export async function fetchImage(address: string, access: WebAccess, name: string): Promise<Uint8Array> {
  if (access === 'none') throw notFetched(name, NO_WEB);
  const signal = AbortSignal.timeout(MOST_WEB_TIME);
  try {
    const response = await fetch(address, { signal, headers: { accept: 'image/*' } });
    if (response.ok) return await bytesOf(response, name);
    throw notFetched(name, `the server answers with status ${response.status}; check the address`);
  } catch (cause) {
    if (cause instanceof ElasticCacheError) throw cause;
    if (signal.aborted) {
      throw notFetched(name, `it takes more than ${MOST_WEB_TIME / 1000} seconds; download it first`, cause);
    }
    throw notFetched(
      name,
      `${reasonOf(cause)}; check the address and the connection, and whether its server lets other pages read it`,
      cause,
    );
  }
}

async function bytesOf(response: Response, name: string): Promise<Uint8Array> {
  const parts: BlobPart[] = [];
  let size = 0;
  for (const reader = response.body!.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    size += value.length;
    parts.push(value);
    if (size <= MAX_WEB_BYTES) continue;
    await reader.cancel();
    throw notFetched(name, `it has more than ${sizeName(MAX_WEB_BYTES)}; download it first`);
  }
}

/**
 * The bytes of an image that is no address of the web: one on the page's own server, by its path.
 * @param refuseTooLarge told its size
 * @throws ElasticCacheError `missing-file` for a `file:` address, which no page may read; as {@link fetchImage}
 */
export async function localImage(
  place: string,
  name: string,
  refuseTooLarge: (bytes: number) => void,
): Promise<Uint8Array> {
  if (/^file:/i.test(place)) {
    throw new ElasticCacheError(
      'missing-file',
      `${name} is a file, which no page may read by its name; give it as a File or Blob.`,
    );
  }
  const bytes = await fetchImage(new URL(place, globalThis.location.href).href, 'any', name);
  refuseTooLarge(bytes.length);
  return bytes;
}
