import { Tensor } from '@huggingface/transformers';
import { ElasticCacheError, shown } from '../../errors.js';
import { encode, type Inputs } from '../families/family.js';
import { familyOf, imageTokensOf } from '../families/registry.js';
import { imageInputs } from '../images/image-inputs.js';
import type { LoadedModel, LoadedVisionModel } from '../loaded-model.js';
import { checkLoaded, checkQuestion, type Question } from './question.js';
import { promptText } from './template/prompt-text.js';

export type { Inputs } from '../families/family.js';
export type { Question } from './question.js';

/**
 * Makes a model's inputs from images and a prompt, by the chat template that came with it, else in the form its family was
 * trained on.
 * @throws ElasticCacheError `invalid-prompt` when the prompt and the images do not fit together, `invalid-image` when the model's processor cannot take an
 *   image, and what {@link readImage} throws
 */
export async function prepareInputs(loaded: LoadedModel, question: Question): Promise<Inputs> {
  checkLoaded(loaded);
  checkQuestion('prepareInputs', question);
  const { images = [], prompt, system } = question;
  const family = familyOf(loaded.model.config.model_type);
  if (images.length > 0) {
    const model = readingImages(loaded);
    return imageInputs(model, family, promptText(model, images.length, prompt, system), images);
  }
  const text = promptText(loaded, 0, prompt, system);
  return encode(loaded, family.textOnly?.(loaded, text) ?? text);
}

/**
 * Makes a model's inputs of what it is to go on with as it stands, without a chat template: a text, or the ids of its tokens.
 * @throws ElasticCacheError `invalid-prompt` for one without tokens, with ids that the model has not, or with a place for an image
 */
export function plainInputs(loaded: LoadedModel, prompt: string | readonly number[]): Inputs {
  const inputs = typeof prompt === 'string' ? encode(loaded, prompt) : tokenInputs(loaded, prompt);
  const ids = inputs.input_ids.data as BigInt64Array;
  if (ids.length === 0) throw new ElasticCacheError('invalid-prompt', 'The prompt is empty; give some text.');
  const isImage = imageTokensOf(loaded.model);
  if (!isImage || !ids.some(isImage)) return inputs;
  throw new ElasticCacheError(
    'invalid-prompt',
    'The prompt has a token that stands for an image, and comes without one; ask with messages.',
  );
}

function tokenInputs({ model, tokenizer }: LoadedModel, ids: readonly number[]): Inputs {
  if (!Array.isArray(ids))
    throw new ElasticCacheError('invalid-prompt', 'The prompt is no text, and no list of token ids.');
  const tokens = vocabularyOf(model.config) ?? tokenizer.get_vocab().size;
  const wrong = ids.find((id) => !(Number.isSafeInteger(id) && id >= 0 && id < tokens));
  if (wrong !== undefined) {
    throw new ElasticCacheError(
      'invalid-prompt',
      `The prompt has ${shown(wrong)} for a token; ids of this model are whole numbers from 0 to ${tokens - 1}.`,
    );
  }
  const data = BigInt64Array.from(ids, BigInt);
  const dims = [1, ids.length];
  return {
    input_ids: new Tensor('int64', data, dims),
    attention_mask: new Tensor('int64', new BigInt64Array(ids.length).fill(1n), dims),
  };
}

/** Tokens that a model has, as its config says. */
function vocabularyOf(config: object): number | undefined {
  const { vocab_size, text_config } = config as {
    vocab_size?: number;
    text_config?: { vocab_size?: number };
  };
  return text_config?.vocab_size ?? vocab_size;
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

/**
 * How many tokens of a prompt stand after its last image, the question and what introduces the answer; all without one.
 * @throws ElasticCacheError 'invalid-option' for what is no loaded model, 'invalid-prompt' for inputs without tokens
 */
export function tokensAfterImage(loaded: LoadedModel, inputs: Pick<Inputs, 'input_ids'>): number {
  checkLoaded(loaded);
  const ids: unknown = Object(Object(inputs).input_ids).data;
  if (!(ids instanceof BigInt64Array)) {
    throw new ElasticCacheError(
      'invalid-prompt',
      `the inputs are ${shown(inputs)} without input_ids; give what prepareInputs() returned, awaited.`,
    );
  }
  return ids.length - 1 - ids.findLastIndex(imageTokensOf(loaded.model) ?? (() => false));
}
