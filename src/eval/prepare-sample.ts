import { type Inputs, prepareInputs } from '../models/conversation/prepare-inputs.js';
import { promptText } from '../models/conversation/prompt-text.js';
import { encode } from '../models/families/family.js';
import type { Image } from '../models/images/read-image.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { answerTokens, splitText } from '../models/measuring/teacher-forcing.js';
import type { Sample, Task } from './data/dataset.js';

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
 * Reads the image, if there is one, and prepares every task of a sample.
 * @throws ElasticCacheError 'invalid-image', 'missing-file' or 'invalid-prompt'
 */
export async function prepareSample(loaded: LoadedModel, sample: Sample): Promise<Prepared> {
  const images = sample.image ? [await sample.image()] : [];
  const tasks = new Map<string, PreparedTask>();
  let pixels: unknown;
  for (const task of sample.tasks) {
    const { inputs, reference } =
      images.length > 0 ? await aboutImages(loaded, images, task) : ofText(loaded, task);
    // The very same pixels for every question, so that they are encoded once.
    pixels ??= inputs.pixel_values;
    tasks.set(task.name, {
      inputs: pixels === undefined ? inputs : { ...inputs, pixel_values: pixels },
      reference,
    });
  }
  const [{ inputs, reference }] = [...tasks.values()] as [PreparedTask];
  return { tasks, timed: { inputs, output: Math.max(2, reference?.length ?? UNTOLD_OUTPUT) } };
}

async function aboutImages(
  loaded: LoadedModel,
  images: readonly Image[],
  { prompt, reference }: Task,
): Promise<PreparedTask> {
  const inputs = await prepareInputs(loaded, { images, prompt });
  const before = promptText(loaded, images.length, prompt);
  return { inputs, reference: reference === undefined ? undefined : answerTokens(loaded, before, reference) };
}

function ofText(loaded: LoadedModel, task: Task): PreparedTask {
  const { prompt, begun, reference, continuation } = task;
  if (continuation) {
    const { promptTokens, tokens } = continuation;
    const { inputs, following } = splitText(loaded, prompt, promptTokens);
    return { inputs, reference: following.slice(0, tokens) };
  }
  const asked = promptText(loaded, 0, prompt);
  const text = begun === undefined ? asked : `${asked}${begun}`;
  return {
    inputs: encode(loaded, text),
    reference: reference === undefined ? undefined : answerTokens(loaded, text, reference),
  };
}
