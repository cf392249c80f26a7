import { type ConvertDtype, convertCheckpoint } from '../../convert/index.js';
import { listOf } from '../options/option-values.js';
import { Progress } from '../terminal/progress.js';
import { leftName } from '../terminal/time-left.js';

export interface ConvertOptions {
  from: string;
  to: string;
  dtype: string;
  blockSize: string;
  asymmetric?: true;
  visionTower?: string;
}

/** Converts a checkpoint; the directory it made is the one line on stdout. */
export async function convert(options: ConvertOptions): Promise<void> {
  const { from, to, dtype, blockSize, asymmetric, visionTower } = options;
  const progress = new Progress();
  let begun = false;
  process.prependOnceListener('SIGINT', () => {
    progress.end();
    if (begun) process.stderr.write('stopped; the same command goes on from here.\n');
  });
  await progress.stage(`converting ${from}`, () =>
    convertCheckpoint({
      from,
      to,
      // What the names are is checked where they are known.
      dtype: listOf(dtype, 'dtype') as ConvertDtype[],
      blockSize: Number(blockSize) as 32 | 64 | 128,
      ...(asymmetric && { asymmetric }),
      ...(visionTower !== undefined && { visionTower }),
      onProgress: ({ stage, bytes, total, secondsLeft }) => {
        begun = true;
        progress.at(bytes, total, `${stage}, ${leftName(secondsLeft)}`);
      },
    }),
  );
  process.stdout.write(`${to}\n`);
}
