import { RequestError } from '../openai/errors.js';

/** Characters to a token at most, over a whole text: four in English prose, and hardly ten in what is mostly space. */
const PER_TOKEN = 16;
/** Where it is not known how much a model takes. */
const MOST = 2e6;

/**
 * Refuses a text that no model of this length can take before its tokens are counted: a tokenizer takes seconds for a million characters, in which nobody is answered.
 * @throws RequestError 400
 */
export function refuseLongText(texts: readonly string[], contextLength: number | undefined): void {
  const most = contextLength === undefined ? MOST : PER_TOKEN * contextLength;
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  if (length <= most) return;
  const takes = contextLength === undefined ? '' : ` (this model takes ${contextLength} tokens)`;
  throw new RequestError(
    400,
    'context_length_exceeded',
    `The text has ${length} characters, and at most ${most} are read${takes}; shorten it.`,
  );
}
