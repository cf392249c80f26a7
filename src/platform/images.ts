import { ElasticCacheError } from '../errors.js';

/** What both ways of reading an image share: limits, and what errors say. */

/** Largest image that is read, in pixels: decoded it takes three bytes a pixel. */
export const MAX_PIXELS = 100e6;
/** Bytes of an image at most, whatever it is read from. */
export const MAX_BYTES = 256e6;
/** Bytes of an image from the web at most. */
export const MAX_WEB_BYTES = 50e6;
/** Milliseconds for all of it: every redirect, the last byte. */
export const MOST_WEB_TIME = 30_000;

/**
 * What may be asked for an image: nothing; addresses of the internet; those, and this machine where the address itself names it (`localhost`,
 * `127.0.0.1`); or private networks as well. A page knows of no address where it leads, so there it is nothing or whatever the browser lets it ask.
 */
export type WebAccess = (typeof WEB_ACCESS)[number];
export const WEB_ACCESS = ['none', 'public', 'local', 'any'] as const;

/** A decoded image, [height, width, 3] or, with what is transparent, [height, width, 4]. */
export interface Pixels {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
}

/** @throws ElasticCacheError `invalid-image` */
export function refuseEmpty(bytes: Uint8Array, name: string): void {
  if (bytes.length === 0) throw invalidImage(`${name} is empty (0 bytes); save or download it again`);
}

/** @throws ElasticCacheError `invalid-image` */
export function refuseManyPixels(width: number, height: number, name: string, most = MAX_PIXELS): void {
  if (width * height <= most) return;
  throw invalidImage(
    `${name} has ${width} x ${height} pixels and at most ${most / 1e6} million are read; scale it down`,
  );
}

export function invalidImage(message: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('invalid-image', `${message}.`, { cause });
}

export function notFetched(name: string, reason: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('download-failed', `${name} cannot be fetched: ${reason}.`, { cause });
}

export const NO_WEB = 'web addresses are not allowed here; send the image itself, as bytes or as a data URL';
