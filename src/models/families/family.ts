import type { PreTrainedModel, RawImage, Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { LoadedModel } from '../load.js';

/** Inputs of `generate()`: `input_ids` [1, tokens], and what the family adds for its images. */
export type Inputs = { input_ids: Tensor } & Record<string, unknown>;

/** What differs between families of models where transformers.js leaves it to the caller. */
export interface Family {
  /** What a prompt's text holds in the place of each image. */
  mark(loaded: LoadedModel): string;
  /** What else stands for an image in its models' texts. */
  otherMarks?: RegExp;
  /** A prompt's text for a model that came without a chat template; `marks` has one mark for each image. */
  plainPrompt(marks: readonly string[], prompt: string): string;
  /** The text in full of a prompt without images, where that is more than the text. */
  textOnly?(loaded: LoadedModel, text: string): string;
  /** Makes inputs from a text with marks and its images, one or several. */
  inputs(loaded: LoadedModel, text: string, images: readonly RawImage[]): Promise<Inputs>;
  /** Leaves out of a conversation's inputs the images that a cache has seen. */
  unseenImages(inputs: Record<string, unknown>, count: ImageTokens): Record<string, unknown>;
  /** Whether an id is of an image's tokens, where that is not the one the config names. */
  isImageToken?(id: bigint): boolean;
  /** Its decoder's session, where that is not `decoder_model_merged`. */
  decoder?: string;
  /** Whether positions of new tokens follow from the tokens before them, so that these must be passed again. */
  needsWholePrompt?: true;
  /** Mends in place what the family's class does wrong. */
  mend?(model: PreTrainedModel): void;
}

/** Image tokens of a conversation. */
export interface ImageTokens {
  seen: number;
  all: number;
}

/** The prompt of LLaVA-1.5, which most models without a template were trained on. */
export function llavaPrompt(marks: readonly string[], prompt: string): string {
  return `USER: ${marks.map((mark) => `${mark}\n`).join('')}${prompt} ASSISTANT:`;
}

/**
 * Leaves out the first pictures along `axis` of the tensors `names`: as many as stand for the seen tokens.
 * Throws `invalid-prompt` when the pictures are not those of the whole conversation.
 */
export function withoutSeen(
  inputs: Record<string, unknown>,
  names: readonly string[],
  axis: number,
  { seen, all }: ImageTokens,
): Record<string, unknown> {
  if (seen === 0) return inputs;
  const given = names.filter((name) => inputs[name]);
  const rest = given.map((name) => {
    const tensor = inputs[name] as Tensor;
    const count = tensor.dims[axis]!;
    const skip = (seen * count) / all;
    if (!Number.isInteger(skip)) throw picturesDoNotFit({ seen, all }, name, count);
    const whole = tensor.dims.slice(0, axis).map(() => null);
    return [name, tensor.slice(...whole, [skip, count])] as const;
  });
  return { ...inputs, ...Object.fromEntries(rest) };
}

/** What to throw for a tensor `name` that does not hold the pictures of the whole conversation. */
export function picturesDoNotFit({ seen, all }: ImageTokens, name: string, count: number): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-prompt',
    `The prompt has ${all} image tokens, ${seen} of them seen before, and ${name} holds ${count} pictures, which does not fit; pass the images of the whole conversation.`,
  );
}

/** As {@link withoutSeen}, where the pictures, or their patches, are rows of `pixel_values`. */
export const withoutSeenRows: Family['unseenImages'] = (inputs, count) =>
  withoutSeen(inputs, ['pixel_values'], 0, count);

/** The image token that a processor is set to, LLaVA's unless it is set to one. */
export function imageMark({ processor }: LoadedModel): string {
  return (processor.config as { image_token?: string } | undefined)?.image_token ?? '<image>';
}

/** A text with the mark of each image as often as the image has tokens. */
export function withRepeated(text: string, mark: string, tokens: readonly number[]): string {
  const [first, ...others] = text.split(mark);
  return first + others.map((part, i) => mark.repeat(tokens[i] ?? 1) + part).join('');
}

/** A text as the tokenizer takes it. */
export function encode(loaded: LoadedModel, text: string): Inputs {
  return loaded.tokenizer(text, firstToken(loaded, text));
}

/** Has a tokenizer add its own first token only to a text without it. */
export function firstToken({ tokenizer: { bos_token } }: LoadedModel, text: string) {
  return { add_special_tokens: !(bos_token && text.startsWith(bos_token)) };
}
