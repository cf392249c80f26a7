import { type ConvertDtype, convertCheckpoint } from '../../convert/index.js';
import { listOf } from '../options/option-values.js';
import { Progress } from '../terminal/progress.js';

export interface ConvertOptions {
  from: string;
  to: string;
  dtype: string;
  blockSize: string;
  visionTower?: string;
}

/** Converts a checkpoint; the directory it made is the one line on stdout. */
export async function convert({ from, to, dtype, blockSize, visionTower }: ConvertOptions): Promise<void> {
  const progress = new Progress();
  await progress.stage(`converting ${from}`, () =>
    convertCheckpoint({
      from,
      to,
      // What the names are is checked where they are known.
      dtype: listOf(dtype, 'dtype') as ConvertDtype[],
      blockSize: Number(blockSize) as 32 | 64 | 128,
      ...(visionTower !== undefined && { visionTower }),
      onProgress: ({ index, total }) => progress.at(index, total),
    }),
  );
  process.stdout.write(`${to}\n`);
}
