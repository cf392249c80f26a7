import { readdir, realpath, stat } from 'node:fs/promises';
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
    const names = await namesIn(path);
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

/** All names in a folder and those in it, but for a link to a folder that it lies in: that has no end. @param above real paths of the folders on the way */
async function namesIn(folder: string, above: readonly string[] = []): Promise<string[]> {
  const real = await realpath(folder);
  if (above.includes(real)) return [];
  const inside = (await readdir(folder)).map(async (name) => {
    const isFolder = (await stat(join(folder, name)).catch(() => undefined))?.isDirectory();
    const names = isFolder ? await namesIn(join(folder, name), [...above, real]) : [];
    return [name, ...names.map((each) => join(name, each))];
  });
  return (await Promise.all(inside)).flat();
}
