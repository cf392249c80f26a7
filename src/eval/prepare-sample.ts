import { type Inputs, prepareInputs } from '../models/conversation/prepare-inputs.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { answerTokens } from '../models/measuring/teacher-forcing.js';
import type { Sample } from './data/dataset.js';

/** A task as the model takes it. */
export interface PreparedTask {
  inputs: Inputs;
  /** Tokens of the reference answer. */
  reference: number[] | undefined;
}

export interface Prepared {
  /** By the name of the task. */
  tasks: ReadonlyMap<string, PreparedTask>;
  /** What latency is measured on: the first task, and as many new tokens as its reference answer has. */
  timed: { inputs: Inputs; output: number };
}

/** New tokens that are timed where a task has no reference answer. */
const UNTOLD_OUTPUT = 64;

/**
 * Reads the image and prepares every task of a sample.
 * @throws ElasticCacheError 'invalid-image', 'missing-file' or 'invalid-prompt'
 */
export async function prepareSample(loaded: LoadedModel, sample: Sample): Promise<Prepared> {
  const image = await sample.image();
  const tasks = new Map<string, PreparedTask>();
  let pixels: unknown;
  for (const { name, prompt, reference } of sample.tasks) {
    const inputs = await prepareInputs(loaded, { images: [image], prompt });
    // The very same pixels for every question, so that they are encoded once.
    pixels ??= inputs.pixel_values;
    tasks.set(name, {
      inputs: pixels === undefined ? inputs : { ...inputs, pixel_values: pixels },
      reference: reference === undefined ? undefined : answerTokens(loaded, prompt, reference),
    });
  }
  const [{ inputs, reference }] = [...tasks.values()] as [PreparedTask];
  return { tasks, timed: { inputs, output: Math.max(2, reference?.length ?? UNTOLD_OUTPUT) } };
}
