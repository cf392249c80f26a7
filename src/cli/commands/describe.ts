import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Caption, CaptionsFile } from '../../describe/captions.js';
import { Describer, type Question } from '../../describe/describe.js';
import { givenUp, openPhotoQueue } from '../../describe/photo-queue.js';
import { photosOf } from '../../describe/photos.js';
import { createEngine } from '../../engine/create-engine.js';
import { ImageProcesses } from '../../engine/images/image-process.js';
import { embeddedModel } from '../../models/embedded.js';
import { MAX_PIXELS } from '../../models/images/read-image.js';
import type { PolicySpec } from '../../policies/registry.js';
import { type ModelOptions, withLoadProgress } from '../load.js';
import type { SamplingOptions } from '../options/command-options.js';
import type { NamedBudget } from '../options/option-values.js';
import { Progress } from '../terminal/progress.js';
import { SweepBar } from '../terminal/sweep-bar.js';

export interface DescribeOptions extends ModelOptions, SamplingOptions {
  prompt: string;
  system?: string;
  out: string;
  /** Where photos go that workers describe. */
  queue?: string;
  expireSeconds: number;
  lanes: number;
  memory?: number;
  budget: NamedBudget;
  policy: PolicySpec;
}

/** Milliseconds until an empty table is looked at again. */
const PAUSE = 500;

/** What every image is asked. */
function questionOf(options: DescribeOptions) {
  const { prompt, system, maxNewTokens, temperature, topP, topK, seed, stop } = options;
  return { prompt, system, maxNewTokens, temperature, topP, topK, seed, stop };
}

/** Describes photos into a file of JSON Lines, which goes on where it stopped. */
export async function describe(photos: readonly string[], options: DescribeOptions): Promise<void> {
  const { out, policy, budget } = options;
  const all = await photosOf(photos);
  const question = questionOf(options);
  const settings = {
    model: options.model ?? 'embedded',
    dtype: options.dtype,
    policy,
    budget: budget.name,
    ...question,
  };
  const file = await CaptionsFile.open(out, settings);
  const left = all.filter((photo) => !file.done.has(photo));
  const found = all.length - left.length;
  if (left.length === 0) {
    process.stderr.write(`all ${all.length} images have a line in ${out} already\n`);
    return;
  }
  const bar = new SweepBar();
  let done = found;
  let broken = 0;
  bar.at({ done, total: all.length, found, sample: '' });
  const tell = (caption: Caption) => {
    file.append(caption);
    if ('error' in caption) broken++;
    bar.at({ done: ++done, total: all.length, found, sample: caption.image });
  };
  try {
    await (options.queue === undefined
      ? here(left, question, options, tell)
      : elsewhere(left, all, question, options, tell));
  } finally {
    bar.end();
  }
  process.stderr.write(
    `${left.length} images described${broken > 0 ? `, ${broken} of them with an error in their line` : ''}: ${out}\n`,
  );
}

type Tell = (caption: Caption) => void;

/** By an engine of this machine. */
async function here(
  photos: readonly string[],
  question: Question,
  options: DescribeOptions,
  tell: Tell,
): Promise<void> {
  const { lanes, memory, policy, budget } = options;
  const path = options.model ?? embeddedModel();
  const engine = await withLoadProgress(path, options, new Progress(), (load) =>
    createEngine(path, { load, lanes, memory, policy, budget: budget.budget, park: 0 }),
  );
  const decoder = new ImageProcesses(MAX_PIXELS);
  try {
    const describer = new Describer(engine, decoder, question, new AbortController().signal);
    // Twice the lanes, so that none waits for the file's order.
    await describer.all(photos, 2 * lanes, tell);
  } finally {
    decoder.end();
    await engine.close();
  }
}

/** By workers of a queue, which `elastic-cache worker` are. */
async function elsewhere(
  photos: readonly string[],
  all: readonly string[],
  question: Question,
  { out, queue: address, policy, budget, expireSeconds }: DescribeOptions,
  tell: Tell,
): Promise<void> {
  const run = await runOf(out);
  const places = new Map(all.map((photo, place) => [photo, place]));
  const asked = { ...question, policy, budget: budget.budget };
  const tasks = photos.map((photo) => ({
    run,
    place: places.get(photo)!,
    image: resolve(photo),
    question: asked,
  }));
  const queue = await openPhotoQueue(address!, (error) => process.stderr.write(`queue: ${error.message}\n`));
  try {
    await queue.add(tasks, expireSeconds);
    for (let next = all.length - photos.length; next < all.length; ) {
      const captions = await queue.results(run, next);
      // As it was named here, wherever the worker found it.
      for (const caption of captions) tell({ ...caption, image: all[next++]! });
      if (captions.length > 0) continue;
      await queue.tidy(givenUp);
      await sleep(PAUSE);
    }
  } finally {
    await queue.close();
  }
}

/** What a run is known by in the queue, kept beside its lines: the same command goes on with it. */
async function runOf(out: string): Promise<string> {
  const beside = `${out}.run`;
  const known = await readFile(beside, 'utf8').catch(() => undefined);
  if (known !== undefined) return known.trim();
  const run = randomUUID();
  await writeFile(beside, `${run}\n`);
  return run;
}
