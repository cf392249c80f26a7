import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { freemem, totalmem } from 'node:os';
import { dirname } from 'node:path';

/** Bytes as people read them: `640 bytes`, `4.2 MB`, `13.5 GB`. */
export function sizeName(bytes: number): string {
  if (bytes < 1e3) return `${bytes} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  const at = Math.min(Math.floor(Math.log10(bytes) / 3), units.length);
  return `${(bytes / 1e3 ** at).toFixed(1)} ${units[at - 1]}`;
}

/** Bytes of memory this process can still take: what the machine has left, within the limit of its container. */
export function memoryLeft(): number {
  // macOS counts what it would give up at once as used, so there only what can never fit is certain.
  const machine = process.platform === 'darwin' ? totalmem() : freemem();
  // The files that a container has read count as its use, although they are given up when memory is short.
  const container = process.constrainedMemory() - process.memoryUsage.rss();
  return container > 0 ? Math.min(machine, container) : machine;
}

/** Bytes free on the disk of a folder, which need not exist yet. */
export async function diskLeft(folder: string): Promise<number> {
  let place = folder;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  const { bavail, bsize } = await statfs(place);
  return bavail * bsize;
}
