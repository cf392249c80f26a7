import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { SHARED_FIELDS } from './request-fields.js';

/** Answers to one body at most, over all its prompts. */
const MOST_ANSWERS = 64;

type Tokens = readonly number[];
type Prompt = string | readonly string[] | Tokens | readonly Tokens[];

const isText = (value: unknown) => typeof value === 'string';
const isTokens = (value: unknown) =>
  Array.isArray(value) && value.length > 0 && value.every(Number.isInteger);

/** A list of numbers may be as long as a text, so this is looked at as one value: of the parts of a list a record is kept for each that is wrong. */
function isPrompt(value: unknown): value is Prompt {
  if (isText(value) || isTokens(value)) return true;
  if (!Array.isArray(value) || value.length === 0 || value.length > MOST_ANSWERS) return false;
  return value.every(isText) || value.every(isTokens);
}

const TEXT = { type: 'string' } as const;
const TOKENS = { type: 'array', items: { type: 'integer' }, minItems: 1 } as const;
const listed = (items: object) => ({ type: 'array', items, minItems: 1, maxItems: MOST_ANSWERS }) as const;

export const CompletionRequest = z.object({
  prompt: z
    .unknown()
    .refine(
      isPrompt,
      `give a text, a list of ${MOST_ANSWERS} texts at most, the ids of tokens as a list, or a list of ${MOST_ANSWERS} such lists at most`,
    )
    .meta({ anyOf: [TEXT, listed(TEXT), TOKENS, listed(TOKENS)] })
    .describe(
      'What the model goes on with as it stands, without a chat template: text, or the ids of its tokens.',
    ),
  ...SHARED_FIELDS,
  logprobs: z.int().min(0).max(5).optional().describe('So many of the likeliest tokens beside each.'),
  echo: z.boolean().optional().describe('The prompt before the answer.'),
  best_of: z.int().optional(),
  suffix: z.string().optional(),
});
export type CompletionRequest = z.infer<typeof CompletionRequest>;

/** The prompts. @throws ElasticCacheError 'invalid-option' for what cannot be done */
export function promptsOf({
  prompt,
  n = 1,
  best_of = n,
  suffix = '',
  echo,
  logprobs,
}: CompletionRequest): (string | Tokens)[] {
  if (best_of !== n)
    throw refused('best_of is not taken: this server returns every answer that it makes; leave it out');
  if (suffix !== '')
    throw refused('suffix is not taken: this model writes what comes next alone; leave it out');
  if (echo && logprobs !== undefined)
    throw refused('echo with logprobs is not taken: the prompt is not scored; leave one out');
  const prompts = promptsIn(prompt);
  if (echo && prompts.some((each) => typeof each !== 'string'))
    throw refused('echo of token ids is not taken: they are no text here; leave it out');
  if (prompts.length * n > MOST_ANSWERS)
    throw refused(
      `${prompts.length} prompts with n = ${n} are more than ${MOST_ANSWERS} answers; send several requests`,
    );
  return prompts;
}

/** One prompt is given as itself, several in a list; and one may be a list of ids. */
function promptsIn(prompt: Prompt): (string | Tokens)[] {
  return typeof prompt === 'string' || isTokens(prompt) ? [prompt as string | Tokens] : (prompt as string[]);
}

function refused(what: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', `${what}.`);
}
