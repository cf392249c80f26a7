import { buffer } from 'node:stream/consumers';
import { ElasticCacheError } from '../errors.js';
import { type Image, MAX_BYTES, readImage } from '../models/images/read-image.js';
import { sizeName } from '../size-name.js';

/** What stands for an image that comes through standard input. */
export const STDIN = '-';

/** Reads the images of a command line: paths, addresses, and {@link STDIN} once. */
export async function readImages(named: readonly string[]): Promise<Image[]> {
  if (named.filter((name) => name === STDIN).length > 1) {
    throw new ElasticCacheError(
      'invalid-option',
      `--image ${STDIN} is given twice; standard input brings one image.`,
    );
  }
  return Promise.all(
    named.map(async (name) =>
      name === STDIN ? readImage(await stdinBytes(), { name: 'image from standard input' }) : readImage(name),
    ),
  );
}

async function stdinBytes(): Promise<Uint8Array> {
  const { stdin } = process;
  if (stdin.isTTY) {
    throw new ElasticCacheError(
      'invalid-option',
      `--image ${STDIN} reads from standard input, and nothing is piped into it; give < image.png as well.`,
    );
  }
  let size = 0;
  stdin.on('data', (part: Buffer) => {
    size += part.length;
    if (size > MAX_BYTES)
      stdin.destroy(
        new ElasticCacheError(
          'invalid-image',
          `image from standard input has more than ${sizeName(MAX_BYTES)}; save it smaller.`,
        ),
      );
  });
  return buffer(stdin);
}
