import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { ElasticCacheError, isDiskFull } from '../errors.js';

/**
 * Fills a directory completely or not at all: `fill` works in a temporary sibling, which takes the name `to` at the end
 * and disappears on any error, and when the process ends. What a run that was killed left there, the next one to the same place removes.
 * @throws ElasticCacheError 'invalid-option' when `to` holds something already, 'out-of-space' when the disk is full.
 */
export async function writeDirectory(to: string, fill: (directory: string) => Promise<void>): Promise<void> {
  const target = resolve(to);
  await refuseOccupied(target);
  await mkdir(dirname(target), { recursive: true });
  await sweep(target);
  const temporary = `${temporaryPrefix(target)}${process.pid}-${randomUUID()}`;
  await mkdir(temporary);
  // An interrupted program ends before a promise does.
  const remove = () => rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
  process.once('exit', remove);
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
  } finally {
    process.removeListener('exit', remove);
  }
}

/** What temporary directories of this machine for a target begin with; the process follows. */
function temporaryPrefix(target: string): string {
  const machine = hostname().replaceAll(/[^\w.]/g, '_');
  return join(dirname(target), `.${basename(target)}-${machine}-`);
}

/** Removes the temporary directories of processes that are no more. */
async function sweep(target: string): Promise<void> {
  const prefix = basename(temporaryPrefix(target));
  for (const name of await readdir(dirname(target))) {
    const process = name.startsWith(prefix) && /^(\d+)-[0-9a-f-]{36}$/.exec(name.slice(prefix.length));
    if (process && !isRunning(Number(process[1]))) {
      await rm(join(dirname(target), name), { recursive: true, force: true });
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code !== 'ESRCH';
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
