import { fetchImage } from '#platform/images.js';
import type { ImageDecoder } from '../engine/images/image-process.js';
import { ElasticCacheError, refuseAborted } from '../errors.js';
import { dataUrlBytes } from '../models/images/data-url.js';
import type { Image } from '../models/images/read-image.js';
import { sizeName } from '../size-name.js';

export interface ImageLimits {
  /** Whether images are fetched from the internet; from nowhere else in any case. */
  readonly remote: boolean;
  /** Of one request. */
  readonly most: number;
  /** Bytes of all images of one request. */
  readonly mostBytes: number;
}

const PLAIN_BASE64 = /^data:[^,]{0,200};base64,([A-Za-z0-9+/]+={0,2})$/i;

/**
 * A request's images, read one after the other. Never from a path: who asks is a stranger.
 * @param addresses data URLs, and those of the web
 * @throws ElasticCacheError 'invalid-image', 'download-failed', 'aborted'
 */
export async function readImages(
  addresses: readonly string[],
  limits: ImageLimits,
  decoder: ImageDecoder,
  signal: AbortSignal,
): Promise<Image[]> {
  if (addresses.length > limits.most) {
    throw refused(
      `the request has ${addresses.length} images and this server takes ${limits.most}; send fewer`,
    );
  }
  const all: Image[] = [];
  let size = 0;
  for (const [place, address] of addresses.entries()) {
    refuseAborted(signal);
    const name = `image ${place + 1}`;
    const bytes = await bytesOf(address, name, limits);
    size += bytes.length;
    if (size > limits.mostBytes)
      throw refused(`the images have more than ${sizeName(limits.mostBytes)} together; send smaller ones`);
    all.push(await decoder.decode(bytes, name, signal));
  }
  return all;
}

async function bytesOf(given: string, name: string, { remote }: ImageLimits): Promise<Uint8Array> {
  const address = given.trim();
  if (/^data:/i.test(address)) {
    const [, base64] = PLAIN_BASE64.exec(address) ?? [];
    const bytes = base64 === undefined ? dataUrlBytes(address) : Buffer.from(base64, 'base64');
    if (bytes) return bytes;
    throw refused(`${name} is not whole: a data URL is data:image/png;base64, and the bytes`);
  }
  if (!/^https?:/i.test(address))
    throw refused(`${name} is no address of an image; send a data URL: data:image/png;base64, and the bytes`);
  if (!remote) {
    throw new ElasticCacheError(
      'download-failed',
      `${name} is on the web, and this server fetches nothing; send a data URL, or start the server with --allow-remote-images.`,
    );
  }
  return fetchImage(address, 'public', name);
}

function refused(what: string): ElasticCacheError {
  return new ElasticCacheError('invalid-image', `${what.charAt(0).toUpperCase()}${what.slice(1)}.`);
}
