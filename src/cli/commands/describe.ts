import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type Caption, CaptionsFile } from '../../describe/captions.js';
import { Describer, type Question } from '../../describe/describe.js';
import { givenUp, openPhotoQueue } from '../../describe/photo-queue.js';
import { photosOf } from '../../describe/photos.js';
import { createEngine } from '../../engine/create-engine.js';
import { ImageProcesses } from '../../engine/images/image-process.js';
import { refused } from '../../eval/disk.js';
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
      : elsewhere(left, question, options, tell));
  } finally {
    bar.end();
  }
  process.stderr.write(
    `${left.length} image${left.length === 1 ? '' : 's'} described${broken > 0 ? `, ${broken} of them with an error in their line` : ''}: ${out}\n`,
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
  left: readonly string[],
  question: Question,
  { out, queue: address, policy, budget, expireSeconds }: DescribeOptions,
  tell: Tell,
): Promise<void> {
  const asked = { ...question, policy, budget: budget.budget };
  const { run, photos } = await runOf(out, left, JSON.stringify(asked));
  const first = photos.length - left.length;
  const tasks = left.map((photo, index) => ({
    run,
    place: first + index,
    image: resolve(photo),
    question: asked,
  }));
  const queue = await openPhotoQueue(address!, (error) => process.stderr.write(`queue: ${error.message}\n`));
  try {
    await queue.add(tasks, expireSeconds);
    for (let next = first; next < photos.length; ) {
      const captions = await queue.results(run, next);
      // As it was named here, wherever the worker found it.
      for (const caption of captions) tell({ ...caption, image: photos[next++]! });
      if (captions.length > 0) continue;
      await queue.tidy(givenUp);
      await sleep(PAUSE);
    }
  } finally {
    await queue.close();
  }
}

/** What is known of a run in the queue. */
interface Run {
  readonly run: string;
  /** What they are asked, as JSON. */
  readonly asked: string;
  /** By their places. */
  readonly photos: readonly string[];
}

/** The run of an earlier command that had the same photos to go on with, kept beside its lines, or a new one: places of others are not theirs. */
async function runOf(out: string, left: readonly string[], asked: string): Promise<Run> {
  const beside = `${out}.run`;
  try {
    const known = JSON.parse(await readFile(beside, 'utf8')) as Run;
    if (known.asked === asked && isDeepStrictEqual(known.photos.slice(-left.length), left)) return known;
  } catch {}
  const made = { run: randomUUID(), asked, photos: left };
  await writeFile(beside, `${JSON.stringify(made)}\n`).catch(refused(beside, 'written'));
  return made;
}
