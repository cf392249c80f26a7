import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError } from '../errors.js';

/** What a folder is searched for; a file that is named is taken whatever it is called. */
const IMAGES = /\.(png|jpe?g|webp|gif|avif|tiff?|bmp|svg)$/i;
/** Files and folders that are hidden: macOS writes one beside every photo on disks of others. */
const HIDDEN = /(^|[\\/])\./;

/**
 * The paths of photos as they were named, each once; a folder stands for the images in it and in its folders, by their names.
 * @throws ElasticCacheError 'missing-file' for a folder without any, and where nothing of what is named is there; else a file that is not there is told when its turn comes
 */
export async function photosOf(named: readonly string[]): Promise<string[]> {
  const all: string[] = [];
  let isAny = false;
  for (const path of named) {
    const found = await stat(path).catch(() => undefined);
    isAny ||= found !== undefined;
    if (!found?.isDirectory()) {
      all.push(path);
      continue;
    }
    const names = await readdir(path, { recursive: true });
    const inside = names.filter((name) => IMAGES.test(name) && !HIDDEN.test(name)).sort();
    if (inside.length === 0)
      throw new ElasticCacheError(
        'missing-file',
        `There is no image in ${path}; name a folder of images, or images.`,
      );
    all.push(...inside.map((name) => join(path, name)));
  }
  if (!isAny)
    throw new ElasticCacheError(
      'missing-file',
      `${named.join(', ')} ${named.length === 1 ? 'is' : 'are'} not there; check what you named.`,
    );
  return [...new Set(all)];
}
