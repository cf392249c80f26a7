import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import { invalidImage } from '../images.js';

export { decodeImage } from './images/decode-image.js';
export { fetchImage } from './images/fetch-image.js';

/**
 * The bytes of an image on this machine.
 * @param place its path, or a `file:` address
 * @param refuseTooLarge told its size before it is read
 * @throws ElasticCacheError `missing-file`, `invalid-image`
 */
export async function localImage(
  place: string,
  name: string,
  refuseTooLarge: (bytes: number) => void,
): Promise<Uint8Array> {
  const path = /^file:/i.test(place) ? pathOf(place, name) : place;
  const file = await stat(path).catch((cause: unknown) => {
    throw unopened(name, cause);
  });
  if (!file.isFile()) throw invalidImage(`${name} is not a file; give the path of one image`);
  refuseTooLarge(file.size);
  return readFile(path).catch((cause: unknown) => {
    throw unopened(name, cause);
  });
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

function unopened(name: string, cause: unknown): ElasticCacheError {
  return new ElasticCacheError('missing-file', `${name} cannot be opened; check the path.`, { cause });
}
