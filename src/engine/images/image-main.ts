import { decodeImage } from '#platform/images.js';
import { reasonOf } from '../../errors.js';
import type { Pixels } from '../../platform/images.js';

/** The file that the process of images runs. It goes when who made it does, since nothing else keeps it. */

export interface ToDecode {
  readonly bytes: Uint8Array;
  readonly name: string;
  /** Pixels. */
  readonly most: number;
}

export type Decoded = Pixels | { readonly error: string };

// As for a worker of a model: signals are for who made it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});

process.on('message', ({ bytes, name, most }: ToDecode) => {
  const answer = (decoded: Decoded) => void process.send?.(decoded);
  decodeImage(bytes, name, most).then(answer, (cause: unknown) => answer({ error: reasonOf(cause) }));
});
