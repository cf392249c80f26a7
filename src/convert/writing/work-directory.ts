import { readdir, readFile, rename, rm, rmdir, statfs, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { diskReason, ElasticCacheError, isDiskFull } from '../../errors.js';
import { makeFolder } from '../../make-folder.js';
import { sizeName } from '../../size-name.js';
import { Journal } from './journal.js';

/** A directory that is not yet what it will be. */
export interface Work {
  /** Becomes the target. */
  readonly directory: string;
  readonly journal: Journal;
  /** @throws ElasticCacheError 'out-of-space' when the disk cannot take so many bytes in all, those of an earlier run included. */
  refuseLarger(bytes: number): Promise<void>;
}

/** Targets that this process is filling. */
const filling = new Set<string>();

/**
 * Fills a directory completely or not at all: `fill` works in a hidden sibling, `.<name>.converting`, which becomes `to` at the end. An error takes it
 * away; a run that is interrupted leaves it, and the next with the same `plan` goes on from there.
 * @param plan what the result depends on, in one line.
 * @throws ElasticCacheError 'invalid-option' when `to` holds something already, is being filled or cannot be made, 'out-of-space' when the disk is full.
 */
export async function fillDirectory(
  to: string,
  plan: string,
  fill: (work: Work) => Promise<void>,
): Promise<void> {
  const target = resolve(to);
  await refuseOccupied(target);
  const parent = dirname(target);
  const place = join(parent, `.${basename(target)}.converting`);
  await makeFolder(parent).catch(unmade(target));
  await claim(target, place).catch(unmade(target));
  try {
    const work = await begin(place, plan).catch(unmade(target));
    try {
      await fill(work);
    } finally {
      await work.journal.close();
    }
    // An empty directory in the way would stop the renaming on some systems.
    await rmdir(target).catch(() => undefined);
    await rename(work.directory, target);
    await rm(place, { recursive: true, force: true });
  } catch (error) {
    await rm(place, { recursive: true, force: true, maxRetries: 5 });
    throw fullDisk(target, error) ?? error;
  } finally {
    filling.delete(target);
  }
}

function fullDisk(target: string, cause: unknown): ElasticCacheError | undefined {
  if (!isDiskFull(cause)) return undefined;
  return new ElasticCacheError(
    'out-of-space',
    `The disk of ${dirname(target)} is full: free some space or convert to another disk; nothing was left there.`,
    { cause },
  );
}

/** For `.catch()`: throws what the disk will not do in one sentence, and what is refused already as it is. */
function unmade(target: string): (cause: unknown) => never {
  return (cause) => {
    if (cause instanceof ElasticCacheError) throw cause;
    throw (
      fullDisk(target, cause) ??
      new ElasticCacheError(
        'invalid-option',
        `${target} cannot be made (${diskReason(cause)}): choose another place to convert to.`,
        { cause },
      )
    );
  };
}

/** What an earlier run has left, if it had the same in mind, else nothing. */
async function begin(place: string, plan: string): Promise<Work> {
  const directory = join(place, 'model');
  const planned = join(place, 'plan');
  if ((await readFile(planned, 'utf8').catch(() => undefined)) !== plan) {
    for (const name of ['model', 'journal']) await rm(join(place, name), { recursive: true, force: true });
    await writeFile(planned, plan);
  }
  await makeFolder(directory);
  const journal = await Journal.open(join(place, 'journal'));
  const refuseLarger = async (bytes: number) => {
    const { bavail, bsize } = await statfs(place);
    const free = bavail * bsize;
    // What an earlier run has written has its place.
    if (!journal.isNew || free >= bytes) return;
    throw new ElasticCacheError(
      'out-of-space',
      `The model will take ${sizeName(bytes)}, and the disk of ${dirname(place)} has ${sizeName(free)} left: free some space, convert to another disk, or choose a smaller dtype; nothing was left there.`,
    );
  };
  return { directory, journal, refuseLarger };
}

/** @throws ElasticCacheError 'invalid-option' when a process of this machine fills the same place. */
async function claim(target: string, place: string): Promise<void> {
  const owner = join(place, 'process');
  const [machine, id] = (await readFile(owner, 'utf8').catch(() => '')).split(' ');
  const elsewhere = machine === hostname() && Number(id) !== process.pid && isRunning(Number(id));
  if (elsewhere || filling.has(target)) {
    throw new ElasticCacheError(
      'invalid-option',
      `${target} is being made by another conversion${elsewhere ? ` (process ${id})` : ''}: wait for it, or choose another place to convert to.`,
    );
  }
  filling.add(target);
  try {
    await makeFolder(place);
    await writeFile(owner, `${hostname()} ${process.pid}`);
  } catch (cause) {
    filling.delete(target);
    throw cause;
  }
}

function isRunning(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
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
