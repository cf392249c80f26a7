import { randomUUID } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticCacheError, reasonOf } from '../../../errors.js';
import { makeFolder } from '../../../make-folder.js';
import type { Folder } from '../../folder.js';

/**
 * A folder of files that only this user reads; it is made where it is not there.
 * @throws ElasticCacheError 'invalid-option' where it cannot be
 */
export async function openFolder(path: string): Promise<Folder> {
  const refused = (cause: unknown) => {
    throw new ElasticCacheError(
      'invalid-option',
      `parkDir ${path} cannot be used (${reasonOf(cause)}); name a folder that can be written to.`,
      { cause },
    );
  };
  await makeFolder(path, 0o700).catch(refused);
  // Whether it can be written to is better known now than at the first conversation.
  const trial = join(path, `.${randomUUID()}`);
  await writeFile(trial, '', { mode: 0o600 }).catch(refused);
  await rm(trial);
  return {
    async files() {
      const found = await readdir(path);
      const sizes = found.map(async (name) => {
        const known = await stat(join(path, name)).catch(() => undefined);
        return known?.isFile() ? [{ name, bytes: known.size, used: known.mtimeMs }] : [];
      });
      return (await Promise.all(sizes)).flat();
    },
    async head(name, length) {
      const file = await open(join(path, name));
      try {
        const { bytesRead, buffer } = await file.read(new Uint8Array(length), 0, length, 0);
        return buffer.subarray(0, bytesRead);
      } finally {
        await file.close();
      }
    },
    read: (name) => readFile(join(path, name)),
    async write(name, bytes) {
      const part = join(path, `.${name}.${randomUUID()}`);
      try {
        await writeFile(part, bytes, { mode: 0o600 });
        await rename(part, join(path, name));
      } catch (cause) {
        await rm(part, { force: true });
        throw cause;
      }
    },
    remove: (name) => rm(join(path, name), { force: true }),
  };
}
