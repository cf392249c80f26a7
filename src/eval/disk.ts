import { readFile } from 'node:fs/promises';
import { diskReason, ElasticCacheError, isDiskFull } from '../errors.js';

/**
 * For `.catch()`: throws what the disk will not do in one sentence, and any other error as it is.
 * @param done what cannot be: `read`, `written`
 * @throws ElasticCacheError 'out-of-space', else 'invalid-option'
 */
export function refused(path: string, done: string): (cause: unknown) => never {
  return (cause) => {
    const { syscall } = cause as NodeJS.ErrnoException;
    if (syscall === undefined) throw cause;
    const full = isDiskFull(cause);
    throw new ElasticCacheError(
      full ? 'out-of-space' : 'invalid-option',
      `${path} cannot be ${done} (${diskReason(cause)}); ${full ? 'make room' : 'mend that'} and run the same command again, which goes on from what is there, or choose another place.`,
      { cause },
    );
  };
}

/** The bytes of a file; undefined when there is none. */
export async function readIfThere(path: string): Promise<Buffer | undefined> {
  return readFile(path).catch(orUndefined).catch(refused(path, 'read'));
}

/** For `.catch()`: nothing there is no error. */
export function orUndefined(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
}
