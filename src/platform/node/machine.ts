import { freemem, totalmem } from 'node:os';

/** Bytes of memory this process can still take: what the machine has left, within the limit of its container. */
export function memoryLeft(): number {
  // macOS counts what it would give up at once as used, so there only what can never fit is certain.
  const machine = process.platform === 'darwin' ? totalmem() : freemem();
  // The files that a container has read count as its use, although they are given up when memory is short.
  const container = process.constrainedMemory() - process.memoryUsage.rss();
  return container > 0 ? Math.min(machine, container) : machine;
}

/** What lets its owner in on the Hub; undefined where none is set. */
export function accessToken(): string | undefined {
  return process.env.HF_TOKEN ?? process.env.HF_ACCESS_TOKEN;
}
