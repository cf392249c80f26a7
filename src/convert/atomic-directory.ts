import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ElasticCacheError, isDiskFull } from '../errors.js';

/**
 * Fills a directory completely or not at all: `fill` works in a temporary sibling, which takes the name `to` at the end
 * and disappears on any error.
 * @throws ElasticCacheError 'invalid-option' when `to` holds something already, 'out-of-space' when the disk is full.
 */
export async function writeDirectory(to: string, fill: (directory: string) => Promise<void>): Promise<void> {
  const target = resolve(to);
  await refuseOccupied(target);
  await mkdir(dirname(target), { recursive: true });
  const temporary = join(dirname(target), `.${basename(target)}-${randomUUID()}`);
  await mkdir(temporary);
  try {
    await fill(temporary);
    // An empty directory in the way would stop the renaming on some systems.
    await rmdir(target).catch(() => undefined);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (isDiskFull(error)) {
      throw new ElasticCacheError(
        'out-of-space',
        `The disk of ${dirname(target)} is full: free some space or convert to another disk; nothing was left there.`,
        { cause: error },
      );
    }
    throw error;
  }
}

async function refuseOccupied(target: string): Promise<void> {
  const entries = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new ElasticCacheError(
      'invalid-option',
      `${target} is not a directory: choose another place to convert to.`,
    );
  });
  if (entries.length > 0) {
    throw new ElasticCacheError(
      'invalid-option',
      `${target} is not empty: choose another place to convert to, or remove it first.`,
    );
  }
}
