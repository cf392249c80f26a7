import { ElasticCacheError } from '../errors.js';
import { refuseUnknown } from '../options.js';
import { encode, type Inputs } from './families/family.js';
import { familyOf, imageTokensOf } from './families/registry.js';
import { imageInputs } from './images/image-inputs.js';
import type { ImageSource } from './images/image-source.js';
import type { LoadedModel, LoadedVisionModel } from './loaded-model.js';

export type { Inputs } from './families/family.js';

/** What a model is asked: one turn of a conversation. */
export interface Question {
  /** None, one or several, in the order in which the model shall see them; what is not read yet is, as {@link readImage} does. */
  images?: readonly ImageSource[];
  prompt: string;
}

/**
 * Makes a model's inputs from images and a prompt, by the chat template that came with it, else in the form its family was
 * trained on.
 * @throws ElasticCacheError `invalid-prompt` when the prompt and the images do not fit together, `invalid-image` when the model's processor cannot take an
 *   image, and what {@link readImage} throws
 */
export async function prepareInputs(loaded: LoadedModel, question: Question): Promise<Inputs> {
  refuseUnknown('prepareInputs', question, ['images', 'prompt']);
  const { images = [], prompt } = question;
  const family = familyOf(loaded.model.config.model_type);
  if (images.length > 0) {
    const model = readingImages(loaded);
    return imageInputs(model, family, promptText(model, images.length, prompt), images);
  }
  const text = promptText(loaded, 0, prompt);
  return encode(loaded, family.textOnly?.(loaded, text) ?? text);
}

/** The same model, which reads images. @throws ElasticCacheError `invalid-prompt` for one of text alone */
export function readingImages(loaded: LoadedModel): LoadedVisionModel {
  const { model, processor } = loaded;
  if (processor) return { ...loaded, processor };
  throw new ElasticCacheError(
    'invalid-prompt',
    `This model (${model.config.model_type}) reads text alone; leave the images out, or choose a vision-language model.`,
  );
}

/** How many tokens of a prompt stand after its last image, the question and what introduces the answer; all without one. */
export function tokensAfterImage({ model }: LoadedModel, { input_ids }: Inputs): number {
  const ids = input_ids.data as BigInt64Array;
  return ids.length - 1 - ids.findLastIndex(imageTokensOf(model) ?? (() => false));
}

/**
 * The text of one turn of a conversation, with a mark in the place of each image.
 * @throws ElasticCacheError `invalid-prompt` when the prompt holds such a mark itself
 */
export function promptText(loaded: LoadedModel, images: number, prompt: string): string {
  const family = familyOf(loaded.model.config.model_type);
  const { processor, tokenizer } = loaded;
  const template = processor?.chat_template ?? tokenizer.chat_template;
  const mark = family.mark(loaded);
  const held = mark !== undefined && prompt.includes(mark) ? mark : family.otherMarks?.exec(prompt)?.[0];
  if (held !== undefined) {
    throw new ElasticCacheError(
      'invalid-prompt',
      `The prompt holds "${held}", which stands for an image in this model's text; leave it out, images are put in by themselves.`,
    );
  }
  const marks = new Array<string>(images).fill(mark ?? '');
  if (!template) return family.plainPrompt(marks, prompt);
  const render = (content: unknown) =>
    tokenizer.apply_chat_template([{ role: 'user', content }] as Messages, {
      // Of several that a tokenizer has, it takes the default by itself.
      chat_template: processor?.chat_template ?? null,
      tokenize: false,
      add_generation_prompt: true,
    }) as string;
  // Templates of text models take a text for the content, and make nothing or nonsense of parts.
  const parts = [...marks.map(() => ({ type: 'image' })), { type: 'text', text: prompt }];
  return (
    fromParts(() => render(parts), marks, prompt) ??
    render(marks.map((mark) => `${mark}\n`).join('') + prompt)
  );
}

type Messages = Parameters<LoadedModel['tokenizer']['apply_chat_template']>[0];

/** What a template makes of parts; undefined when it is not one for parts. */
function fromParts(render: () => string, marks: readonly string[], prompt: string): string | undefined {
  let text: string;
  try {
    text = render();
  } catch {
    return undefined;
  }
  const found = marks[0] === undefined ? 0 : text.split(marks[0]).length - 1;
  const listed = /["']type["'] ?:/;
  const asList = listed.test(text) && !listed.test(prompt);
  return found === marks.length && text.includes(prompt.trim()) && !asList ? text : undefined;
}
