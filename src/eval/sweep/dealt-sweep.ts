import { setTimeout as sleep } from 'node:timers/promises';
import { ElasticCacheError } from '../../errors.js';
import type { JobQueue, Task } from '../../queue/job-queue.js';
import type { BrokenRecord } from '../data/dataset.js';
import { LineTable, type ResultLine } from '../results.js';
import { type SweepOptions, sweep } from './sweep.js';

/** A sample of a sweep, as it lies in a queue. */
export interface DealtSample extends Task {
  readonly sample: string;
}

/** What became of one: its lines, or why there are none. */
export interface Measured {
  readonly lines: readonly ResultLine[];
  readonly broken?: BrokenRecord | undefined;
  readonly givenUp?: string;
}

export interface Dealing {
  readonly queue: JobQueue<DealtSample, Measured>;
  /** What the sweep is known by: the same for the same, on every machine. */
  readonly run: string;
  /** After which a machine that has not finished a sample is taken for dead. */
  readonly expireSeconds: number;
}

/** Milliseconds until an empty queue is looked at again. */
const PAUSE = 500;

/**
 * A sweep of which each machine that runs the same does a part: samples are dealt out, and all lines of all of them come to each, in the order of the data. Those of a machine that dies are
 * measured by another.
 * @returns samples that were measured here
 */
export async function dealtSweep(
  options: SweepOptions,
  { queue, run, expireSeconds }: Dealing,
): Promise<number> {
  const { dataset, results, onBroken, onProgress } = options;
  const { samples } = dataset;
  const tasks = samples.map(({ name }, place) => ({ run, place, sample: name }));
  await queue.add(tasks, expireSeconds);
  let own = 0;
  let found: number | undefined;
  for (let next = 0; next < samples.length; ) {
    const measured = await queue.results(run, next);
    for (const { lines, broken, givenUp } of measured) {
      if (givenUp !== undefined)
        throw new ElasticCacheError(
          'worker-died',
          `Sample ${samples[next]!.name} ${givenUp}; run the same again to try the rest.`,
        );
      for (const line of lines) if (!results.get(line)) results.append(line);
      if (broken) onBroken(broken);
      next++;
    }
    found ??= next;
    onProgress({
      done: next,
      total: samples.length,
      found,
      sample: samples[Math.min(next, samples.length - 1)]!.name,
    });
    if (measured.length > 0) continue;
    const [job] = await queue.take(1);
    if (job) {
      const done = await measuredHere(options, job.data.place).catch(async (cause: unknown) => {
        await queue.failed(job, cause);
        throw cause;
      });
      await queue.done(job, done);
      own++;
      continue;
    }
    await queue.tidy((_, givenUp) => ({ lines: [], givenUp }));
    await sleep(PAUSE);
  }
  return own;
}

async function measuredHere(options: SweepOptions, place: number): Promise<Measured> {
  const { dataset } = options;
  const results = new LineTable();
  let broken: BrokenRecord | undefined;
  await sweep({
    ...options,
    results,
    dataset: { ...dataset, samples: [dataset.samples[place]!] },
    onBroken: (record) => {
      broken = record;
    },
    onProgress: () => {},
  });
  return { lines: results.lines, broken };
}
