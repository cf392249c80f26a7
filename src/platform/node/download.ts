import { createHash, randomUUID } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ElasticCacheError, isDiskFull } from '../../errors.js';
import { makeFolder } from '../../make-folder.js';
import { sizeName } from '../../size-name.js';
import { networkReason, refuse, request } from '../hub-file.js';
import type { ModelSource, RemoteFile } from '../model-source.js';
import { cachePath } from './places.js';

/** Milliseconds without a byte after which nobody is taken to fetch a part any more. */
const DAY = 24 * 60 * 60 * 1000;

/**
 * Fetches a file of the Hub into the cache folder, where transformers.js finds it. A download that breaks off is kept as
 * `<file>.<hash of its tag>.part`, and the next one goes on from there; the file gets its own name when it is whole.
 *
 * Bytes are written where they belong, so that two processes that fetch the same content write the same.
 * @param report is told the bytes that are here
 * @throws ElasticCacheError `download-failed` with how far it came or why it cannot be kept, `out-of-space`, `missing-file`
 */
export async function fetchFile(
  source: ModelSource,
  file: string,
  remote: RemoteFile,
  report: (loaded: number) => void,
): Promise<void> {
  const target = cachePath(source, file);
  const part = partPath(target, remote);
  const handle = await opened(part).catch((cause: unknown) => {
    throw ofDisk(cause, target);
  });
  let written: BigIntStats;
  try {
    await fill(source, file, remote, handle, report);
    written = await handle.stat({ bigint: true });
  } catch (cause) {
    if (remote.etag === undefined) await rm(part, { force: true });
    throw ofDisk(cause, target);
  } finally {
    await handle.close();
  }
  await rename(part, target).catch(async (cause: Error) => {
    // Another process fetched the same and was first. A file there that is not this one may hold something else.
    if (await isAt(target, written)) return;
    throw new ElasticCacheError(
      'download-failed',
      `${file} of ${source.id} was fetched but could not be given its name (${cause.message}); see that nothing else changes ${dirname(target)}, and load again.`,
      { cause },
    );
  });
  await dropOldParts(target);
}

async function isAt(path: string, { dev, ino }: BigIntStats): Promise<boolean> {
  const there = await stat(path, { bigint: true }).catch(() => undefined);
  return there?.dev === dev && there.ino === ino;
}

/** Removes what is left of downloads of a file as it was before, but for those that another process may be at. */
async function dropOldParts(target: string): Promise<void> {
  const name = basename(target);
  for (const file of await readdir(dirname(target))) {
    if (!file.startsWith(`${name}.`) || !/^[0-9a-f]{16}\.part$/.test(file.slice(name.length + 1))) continue;
    const part = join(dirname(target), file);
    const found = await stat(part).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > DAY) await rm(part, { force: true });
  }
}

/** Where a download lies until it is whole. */
export function partPath(target: string, { etag }: RemoteFile): string {
  const name =
    etag === undefined ? randomUUID() : createHash('sha256').update(etag).digest('hex').slice(0, 16);
  return `${target}.${name}.part`;
}

async function opened(part: string): Promise<FileHandle> {
  await makeFolder(dirname(part));
  return open(part, constants.O_CREAT | constants.O_RDWR);
}

/** What the disk will not do, in one sentence; any other error as it is. */
function ofDisk(cause: unknown, target: string): unknown {
  const { code = '', message } = cause as NodeJS.ErrnoException;
  const folder = dirname(target);
  if (isDiskFull(cause)) {
    return new ElasticCacheError(
      'out-of-space',
      `The disk of ${folder} is full before ${basename(target)} is fetched; free some space or set cache_dir to another disk, and load again to go on.`,
      { cause },
    );
  }
  if (['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST'].includes(code)) {
    return new ElasticCacheError(
      'download-failed',
      `${basename(target)} cannot be kept in ${folder} (${message}); set cache_dir to a folder that can be written to.`,
      { cause },
    );
  }
  return cause;
}

async function fill(
  source: ModelSource,
  file: string,
  { size, etag }: RemoteFile,
  handle: FileHandle,
  report: (loaded: number) => void,
): Promise<void> {
  let at = (await handle.stat()).size;
  if (size !== undefined && at > size) {
    await handle.truncate(0);
    at = 0;
  }
  if (at > 0 && at === size) return;
  let response = await request(
    source,
    file,
    at > 0 && etag ? { Range: `bytes=${at}-`, 'If-Range': etag } : {},
  );
  if (response.status === 416 && at > 0) {
    // What is here is no shorter than the file: whole, or not what it should be, and nothing tells which.
    await response.body?.cancel();
    response = await request(source, file, {});
  }
  refuse(source, file, response);
  if (response.status !== 206) at = 0;
  report(at);
  const reader = response.body!.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw interrupted(source, file, at, size, `the connection broke: ${networkReason(cause)}`, cause);
      });
      if (done) break;
      await writeAll(handle, value, at);
      at += value.length;
      report(at);
    }
  } catch (cause) {
    // Else the rest would be waited for, and Node with it. A connection that broke has nothing left to end.
    await reader.cancel().catch(() => {});
    throw cause;
  }
  // Only now: another process may have made the same part the file, and be reading it.
  if (size === undefined) await handle.truncate(at);
  else if (at !== size) throw interrupted(source, file, at, size, 'the server stopped sending');
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
}

function interrupted(
  { id }: ModelSource,
  file: string,
  at: number,
  size: number | undefined,
  reason: string,
  cause?: unknown,
): ElasticCacheError {
  const whole = size === undefined ? '' : ` of ${sizeName(size)}`;
  return new ElasticCacheError(
    'download-failed',
    `The download of ${file} of ${id} broke off after ${sizeName(at)}${whole} (${reason}); load again to go on from there.`,
    { cause },
  );
}
