import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError } from '../errors.js';

/** What a folder is searched for; a file that is named is taken whatever it is called. */
const IMAGES = /\.(png|jpe?g|webp|gif|avif|tiff?|bmp|svg)$/i;

/**
 * The paths of photos as they were named, each once; a folder stands for the images in it and in its folders, by their names.
 * @throws ElasticCacheError 'missing-file' for a folder without any; a file that is not there is told when its turn comes
 */
export async function photosOf(named: readonly string[]): Promise<string[]> {
  const all: string[] = [];
  for (const path of named) {
    const found = await stat(path).catch(() => undefined);
    if (!found?.isDirectory()) {
      all.push(path);
      continue;
    }
    const inside = (await readdir(path, { recursive: true })).filter((name) => IMAGES.test(name)).sort();
    if (inside.length === 0)
      throw new ElasticCacheError(
        'missing-file',
        `There is no image in ${path}; name a folder of images, or images.`,
      );
    all.push(...inside.map((name) => join(path, name)));
  }
  return [...new Set(all)];
}
