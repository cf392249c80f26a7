import { openPhotoQueue } from '../../describe/photo-queue.js';
import { work } from '../../describe/worker.js';
import { createEngine } from '../../engine/create-engine.js';
import { ImageProcesses } from '../../engine/images/image-process.js';
import { embeddedModel } from '../../models/embedded.js';
import { MAX_PIXELS } from '../../models/images/read-image.js';
import type { PolicySpec } from '../../policies/registry.js';
import { type ModelOptions, withLoadProgress } from '../load.js';
import type { NamedBudget } from '../options/option-values.js';
import { Progress } from '../terminal/progress.js';

export interface WorkerOptions extends ModelOptions {
  queue: string;
  lanes: number;
  memory?: number;
  budget: NamedBudget;
  policy: PolicySpec;
}

/** Describes photos of a queue until a signal comes: the first lets it finish what it has, the second ends it. */
export async function worker(options: WorkerOptions): Promise<void> {
  const { lanes, memory, policy, budget } = options;
  const path = options.model ?? embeddedModel();
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const queue = await openPhotoQueue(options.queue, (error) => say(`queue: ${error.message}`));
  const decoder = new ImageProcesses(MAX_PIXELS);
  const stop = new AbortController();
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.removeAllListeners(signal);
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(status);
      say('stopping: what it has is finished');
      stop.abort();
    });
  }
  const outcomes = { described: 0, broken: 0, 'given back': 0 };
  try {
    const engine = await withLoadProgress(path, options, new Progress(), (load) =>
      createEngine(path, { load, lanes, memory, policy, budget: budget.budget, park: 0 }),
    );
    try {
      say('waiting for photos; Ctrl+C stops it');
      await work(queue, engine, decoder, 2 * lanes, stop.signal, (_job, outcome) => {
        outcomes[outcome]++;
      });
    } finally {
      await engine.close();
    }
  } finally {
    decoder.end();
    await queue.close();
  }
  say(
    `${outcomes.described} described, ${outcomes.broken} with an error, ${outcomes['given back']} given back`,
  );
}
