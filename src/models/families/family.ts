import {
  cat,
  type PreTrainedModel,
  type Processor,
  type RawImage,
  type Tensor,
} from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { LoadedModel, LoadedVisionModel } from '../loaded-model.js';
import type { Picture } from './pictures.js';

/** Inputs of `generate()`: `input_ids` [1, tokens], and what the family adds for its images. */
export type Inputs = { input_ids: Tensor } & Record<string, unknown>;

/** What differs between families of models where transformers.js leaves it to the caller. */
export interface Family {
  /** What a prompt's text holds in the place of each image; undefined where there are none. */
  mark(loaded: LoadedModel): string | undefined;
  /** What else stands for an image in its models' texts. */
  otherMarks?: RegExp;
  /** A prompt's text for a model that came without a chat template; `marks` has one mark for each image. */
  plainPrompt(marks: readonly string[], prompt: string): string;
  /** The text in full of a prompt without images, where that is more than the text. */
  textOnly?(loaded: LoadedModel, text: string): string;
  /** Makes inputs from a text with marks and its images, one or several. */
  inputs(loaded: LoadedVisionModel, text: string, images: readonly RawImage[]): Promise<Inputs>;
  /**
   * Leaves out of a conversation's inputs the images that a cache has seen, which is one at least; `prompts` counts those of each
   * row of the batch.
   */
  unseenImages(inputs: Record<string, unknown>, prompts: readonly ImageTokens[]): Record<string, unknown>;
  /** The pictures among inputs that have some, or their parts, in the order of the text; they take `all` image tokens together. */
  pictures(inputs: Record<string, unknown>, all: number): Picture[];
  /** Puts the images of a later turn behind those before, tensor by tensor; along the first axis without it. */
  joined?(before: Tensor, after: Tensor): Tensor;
  /** Whether an id is of an image's tokens, where that is not the one the config names. */
  isImageToken?(id: bigint): boolean;
  /** Its decoder's session, where that is not `decoder_model_merged`. */
  decoder?: string;
  /** Whether positions of new tokens follow from the tokens before them, so that these must be passed again. */
  needsWholePrompt?: true;
  /** Corrects, on a loaded model, what its class in transformers.js does wrong. */
  patchModel?(model: PreTrainedModel): void;
}

/** Image tokens of a conversation. `seen` is 0 as well where `input_ids` holds its new tokens alone. */
export interface ImageTokens {
  seen: number;
  all: number;
}

/** The prompt of LLaVA-1.5, which most models without a template were trained on. */
export function llavaPrompt(marks: readonly string[], prompt: string): string {
  return `USER: ${marks.map((mark) => `${mark}\n`).join('')}${prompt} ASSISTANT:`;
}

/**
 * Leaves out of each prompt's pictures the first, as many as stand for its seen tokens: `pixel_values` holds the pictures of all
 * prompts, or their patches, one after the other.
 * Throws `invalid-prompt` when the pictures are not those of the whole conversations.
 */
export const withoutSeenRows: Family['unseenImages'] = (inputs, prompts) => {
  const whole = {
    seen: prompts.reduce((sum, { seen }) => sum + seen, 0),
    all: prompts.reduce((sum, { all }) => sum + all, 0),
  };
  const pixels = inputs.pixel_values as Tensor | undefined;
  if (!pixels) return inputs;
  const count = pixels.dims[0]!;
  const pictures = (tokens: number) => {
    const number = (tokens * count) / whole.all;
    if (!Number.isInteger(number)) throw picturesDoNotFit(whole, 'pixel_values', count);
    return number;
  };
  let end = 0;
  const rest = prompts.flatMap(({ seen, all }) => {
    const start = end + pictures(seen);
    end += pictures(all);
    return start === end ? [] : [pixels.slice([start, end])];
  });
  return { ...inputs, pixel_values: cat(rest, 0) };
};

/** The one prompt of a batch. Throws `invalid-prompt` when there are several. */
export function onlyPrompt(prompts: readonly ImageTokens[]): ImageTokens {
  const [only] = prompts;
  if (only && prompts.length === 1) return only;
  throw new ElasticCacheError(
    'invalid-prompt',
    `This model takes images in a later turn of one prompt at a time, not of a batch of ${prompts.length}; give each prompt a generate() call and a cache of its own.`,
  );
}

/** What to throw for a tensor `name` that does not hold the pictures of the whole conversation. */
export function picturesDoNotFit({ seen, all }: ImageTokens, name: string, count: number): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-prompt',
    `The prompt has ${all} image tokens, ${seen} of them seen before, and ${name} holds ${count} pictures, which does not fit; pass the images of the whole conversation.`,
  );
}

/** The image token that a processor is set to, LLaVA's unless it is set to one. */
export function imageMark({ processor }: LoadedModel): string {
  return (processor?.config as { image_token?: string } | undefined)?.image_token ?? '<image>';
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
  return { add_special_tokens: !(bos_token && text.trimStart().startsWith(bos_token)) };
}

/**
 * A model's processor with its tokenizer set so: most processors hand it a text and no options, and templates begin with the very token that it adds.
 */
export function processorOf(
  { processor }: LoadedVisionModel,
  tokenizing: ReturnType<typeof firstToken>,
): Processor['_call'] {
  const tokenizer = new Proxy(processor.tokenizer!, {
    apply: (target, _self, [text, options]) => target(text, { ...options, ...tokenizing }),
  });
  const own: Processor = Object.create(processor, {
    components: { value: { ...processor.components, tokenizer } },
  });
  return own._call.bind(own);
}
