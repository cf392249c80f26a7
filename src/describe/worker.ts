import { setTimeout as sleep } from 'node:timers/promises';
import type { ImageDecoder } from '../engine/images/image-process.js';
import type { Engine } from '../engine/request.js';
import { ElasticCacheError } from '../errors.js';
import { Describer } from './describe.js';
import { givenUp, type Job, type PhotoQueue } from './photo-queue.js';

/** Milliseconds until an empty queue is looked at again. */
const PAUSE = 500;
const TIDY = 5000;

/**
 * Does jobs of a queue until a signal says to stop: what it has then is finished first.
 * @param atOnce jobs that it has at once
 * @param onDone called with what became of each
 */
export async function work(
  queue: PhotoQueue,
  engine: Engine,
  decoder: ImageDecoder,
  atOnce: number,
  signal: AbortSignal,
  onDone: (job: Job, outcome: 'described' | 'broken' | 'given back') => void,
): Promise<void> {
  const never = new AbortController().signal;
  const running = new Set<Promise<void>>();
  let tidied = 0;
  const lost = engine.ended.then(() => {
    throw new ElasticCacheError('worker-died', 'The engine ended.');
  });
  lost.catch(() => {});
  const doing = async (job: Job) => {
    const describer = new Describer(engine, decoder, job.data.question, never);
    try {
      const caption = await describer.describe(job.data.image);
      await queue.done(job, caption);
      onDone(job, 'error' in caption ? 'broken' : 'described');
    } catch (cause) {
      await queue.failed(job, cause);
      onDone(job, 'given back');
    }
  };
  while (!signal.aborted) {
    if (performance.now() - tidied > TIDY) {
      await queue.tidy(givenUp);
      tidied = performance.now();
    }
    const jobs = running.size < atOnce ? await queue.take(atOnce - running.size) : [];
    for (const job of jobs) {
      const own = doing(job).finally(() => running.delete(own));
      running.add(own);
    }
    if (jobs.length > 0) continue;
    const stopped = sleep(PAUSE, undefined, { signal }).catch(() => {});
    await Promise.race([stopped, lost, ...(running.size === atOnce ? running : [])]);
  }
  await Promise.all(running);
}
