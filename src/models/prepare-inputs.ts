import {
  Florence2Processor,
  Lfm2VlProcessor,
  LlavaProcessor,
  PaliGemmaProcessor,
  PixtralProcessor,
  type RawImage,
  type Tensor,
} from '@huggingface/transformers';
import { ElasticCacheError } from '../errors.js';
import type { LoadedModel } from './load.js';

/** Processors that take (images, text); the others take (text, images). */
const IMAGES_FIRST = [
  LlavaProcessor,
  PaliGemmaProcessor,
  Lfm2VlProcessor,
  PixtralProcessor,
  Florence2Processor,
];

/** What a model is asked: one turn of a conversation. */
export interface Question {
  images: readonly RawImage[];
  prompt: string;
}

/** Inputs of `generate()`: `input_ids` [1, tokens], and what the family adds for its images. */
export type Inputs = { input_ids: Tensor } & Record<string, unknown>;

/**
 * Makes a model's inputs from images and a prompt: the chat template that came with it, else the form of LLaVA-1.5.
 * @throws ElasticCacheError `invalid-option` for several images where the family takes one
 */
export async function prepareInputs(
  { processor }: LoadedModel,
  { images, prompt }: Question,
): Promise<Inputs> {
  const imagesFirst = IMAGES_FIRST.some((Processor) => processor instanceof Processor);
  if (images.length > 1 && processor instanceof LlavaProcessor) {
    throw new ElasticCacheError(
      'invalid-option',
      `this model takes one image at a time and ${images.length} were given; give one.`,
    );
  }
  const text = turn(processor, images.length, prompt);
  const pictures = images.length === 1 ? images[0] : [...images];
  return imagesFirst ? processor(pictures, text) : processor(text, pictures);
}

function turn(processor: LoadedModel['processor'], images: number, prompt: string): string {
  const template = processor.chat_template ?? processor.tokenizer?.chat_template;
  if (template) {
    const content = [
      ...Array.from({ length: images }, () => ({ type: 'image' })),
      { type: 'text', text: prompt },
    ];
    // Parts are in the form that every vision-language template takes; transformers.js types only text.
    const messages = [{ role: 'user', content }] as unknown as Parameters<
      typeof processor.apply_chat_template
    >[0];
    return processor.apply_chat_template(messages, { add_generation_prompt: true }) as string;
  }
  const config = processor.config as { image_token?: string } | undefined;
  return `USER: ${`${config?.image_token ?? '<image>'}\n`.repeat(images)}${prompt} ASSISTANT:`;
}

/** How many tokens of a prompt stand after its last image, the question and what introduces the answer; all without one. */
export function tokensAfterImage(loaded: LoadedModel, { input_ids }: Inputs): number {
  const ids = Array.from(input_ids.data as BigInt64Array);
  return ids.length - 1 - ids.lastIndexOf(BigInt(imageTokenId(loaded)));
}

/** The token whose places in a prompt the image takes; -1 where the config names none. */
export function imageTokenId({ model }: LoadedModel): number {
  const { image_token_index, image_token_id } = model.config as {
    image_token_index?: number;
    image_token_id?: number;
  };
  return image_token_index ?? image_token_id ?? -1;
}
