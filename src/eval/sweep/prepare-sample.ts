import { ElasticCacheError } from '../../errors.js';
import { type Inputs, readingImages } from '../../models/conversation/prepare-inputs.js';
import { promptText } from '../../models/conversation/template/prompt-text.js';
import { encode } from '../../models/families/family.js';
import { familyOf } from '../../models/families/registry.js';
import { imageInputs } from '../../models/images/image-inputs.js';
import { meanColour, padded } from '../../models/images/padded-image.js';
import type { Image } from '../../models/images/read-image.js';
import type { LoadedModel } from '../../models/loaded-model.js';
import type { TurnedPrompt } from '../../models/measuring/prompt-turns.js';
import { answerTokens, splitText } from '../../models/measuring/teacher-forcing.js';
import type { Sample, Task } from '../data/dataset.js';
import type { Protocol } from '../data/protocol.js';

/** A task as the model takes it. */
export interface PreparedTask extends TurnedPrompt {
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
export async function prepareSample(
  loaded: LoadedModel,
  sample: Sample,
  protocol: Protocol,
): Promise<Prepared> {
  const read = sample.image ? [await sample.image()] : [];
  const images = protocol.padImages ? read.map((image) => padded(image, meanColour(loaded))) : read;
  const tasks = new Map<string, PreparedTask>();
  let pixels: unknown;
  for (const task of sample.tasks) {
    const { inputs, ...rest } = task.continuation
      ? continuedText(loaded, task.prompt, task.continuation, protocol)
      : await asked(loaded, images, sample.context, task, protocol);
    // The very same pixels for every question, so that they are encoded once.
    pixels ??= inputs.pixel_values;
    tasks.set(task.name, {
      inputs: pixels === undefined ? inputs : { ...inputs, pixel_values: pixels },
      ...rest,
    });
  }
  const [{ inputs, reference }] = [...tasks.values()] as [PreparedTask];
  return { tasks, timed: { inputs, output: Math.max(2, reference?.length ?? UNTOLD_OUTPUT) } };
}

/** A text has no question that a cache could know of. */
function continuedText(
  loaded: LoadedModel,
  text: string,
  { promptTokens, tokens }: NonNullable<Task['continuation']>,
  protocol: Protocol,
): PreparedTask {
  const { inputs, following } = splitText(loaded, text, promptTokens);
  const turns = protocol.firstToken === 'prompt' ? [] : [promptTokens - 1];
  return { inputs, turns, reference: counted(following.slice(0, tokens), protocol) };
}

async function asked(
  loaded: LoadedModel,
  images: readonly Image[],
  context: string | undefined,
  { begun = '', system, ...task }: Task,
  protocol: Protocol,
): Promise<PreparedTask> {
  const unknown = protocol.question === 'unknown';
  const reference = protocol.answers === 'written' ? (task.written ?? task.reference) : task.reference;
  // An image that is read before the question is known comes before it.
  const { before, prompt } = unknown ? imageFirst(task) : placedBy(task, images.length, protocol);
  const about = context === undefined ? prompt : `${context}\n\n${prompt}`;
  const whole = promptText(loaded, images.length, about, system ?? protocol.system, before);
  const text = `${whole}${begun}`;
  const inputsOf = async (part: string) =>
    images.length > 0
      ? imageInputs(readingImages(loaded), familyOf(loaded.model.config.model_type), part, images)
      : encode(loaded, part);
  const inputs = await inputsOf(text);
  const turns = protocol.firstToken === 'prompt' ? [] : [inputs.input_ids.dims[1]! - 1];
  if (unknown) {
    if (images.length === 0 && context === undefined) throw nothingBefore();
    // Read up to the question, the text has the same tokens but for those that the question has a part in.
    const known = await inputsOf(whole.slice(0, questionIn(whole, prompt)));
    turns.unshift(inCommon(inputs, known));
  }
  return {
    inputs,
    turns,
    reference: reference === undefined ? undefined : counted(answerTokens(loaded, text, reference), protocol),
  };
}

function imageFirst({ before, prompt }: Pick<Task, 'before' | 'prompt'>): Pick<Task, 'before' | 'prompt'> {
  return { prompt: [before, prompt].filter(Boolean).join('\n') };
}

/** The tokens of an answer that perplexity is measured on; one at the least. */
function counted(tokens: number[], { lastToken }: Protocol): number[] {
  return lastToken === 'left-out' && tokens.length > 1 ? tokens.slice(0, -1) : tokens;
}

/** A question whose record does not say where the image stands goes before it where the protocol says so. */
function placedBy(
  { before, prompt, placed }: Task,
  images: number,
  { imagePlace }: Protocol,
): Pick<Task, 'before' | 'prompt'> {
  const after = imagePlace === 'after' && images > 0 && !placed;
  return after ? { before: prompt, prompt: '' } : { prompt, ...(before === undefined ? {} : { before }) };
}

/** Where the question stands in the text of a prompt. */
function questionIn(whole: string, prompt: string): number {
  const at = whole.lastIndexOf(prompt.trim());
  if (at > 0) return at;
  throw new ElasticCacheError(
    'invalid-prompt',
    `the chat template makes another text of its question (${prompt.slice(0, 40)}), so what comes before it is not known; measure with --question known.`,
  );
}

/** The tokens that two prompts begin with. */
function inCommon(one: Inputs, other: Inputs): number {
  const [a, b] = [one, other].map(({ input_ids }) => input_ids.data as BigInt64Array) as [
    BigInt64Array,
    BigInt64Array,
  ];
  const at = a.findIndex((id, index) => id !== b[index]);
  return at < 0 ? a.length : at;
}

function nothingBefore(): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-prompt',
    'it has nothing that could be read before its question is known, neither an image nor a context; give it one, or measure with --question known.',
  );
}
