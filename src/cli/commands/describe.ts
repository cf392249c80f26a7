import { CaptionsFile } from '../../describe/captions.js';
import { Describer } from '../../describe/describe.js';
import { photosOf } from '../../describe/photos.js';
import { createEngine } from '../../engine/create-engine.js';
import { ImageProcesses } from '../../engine/images/image-process.js';
import { embeddedModel } from '../../models/embedded.js';
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
  lanes: number;
  memory?: number;
  budget: NamedBudget;
  policy: PolicySpec;
}

/** What every image is asked. */
export function questionOf(options: DescribeOptions) {
  const { prompt, system, maxNewTokens, temperature, topP, topK, seed, stop } = options;
  return { prompt, system, maxNewTokens, temperature, topP, topK, seed, stop };
}

/** Describes photos into a file of JSON Lines, which goes on where it stopped. */
export async function describe(photos: readonly string[], options: DescribeOptions): Promise<void> {
  const { out, lanes, memory, policy, budget } = options;
  const all = await photosOf(photos);
  const path = options.model ?? embeddedModel();
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
  const engine = await withLoadProgress(path, options, new Progress(), (load) =>
    createEngine(path, { load, lanes, memory, policy, budget: budget.budget, park: 0 }),
  );
  const decoder = new ImageProcesses();
  const bar = new SweepBar();
  let done = found;
  let broken = 0;
  bar.at({ done, total: all.length, found, sample: '' });
  try {
    const describer = new Describer(engine, decoder, question, new AbortController().signal);
    // Twice the lanes, so that none waits for the file's order.
    await describer.all(left, 2 * lanes, (caption) => {
      file.append(caption);
      if ('error' in caption) broken++;
      bar.at({ done: ++done, total: all.length, found, sample: caption.image });
    });
  } finally {
    bar.end();
    decoder.end();
    await engine.close();
  }
  process.stderr.write(
    `${left.length} images described${broken > 0 ? `, ${broken} of them with an error in their line` : ''}: ${out}\n`,
  );
}
