import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { SHARED_FIELDS } from './request-fields.js';

export const CompletionRequest = z.object({
  prompt: z
    .union(
      [z.string(), z.array(z.string()).min(1).max(64)],
      'give a text, or a list of texts; tokens are not taken',
    )
    .describe('Text that the model goes on with as it stands, without a chat template.'),
  ...SHARED_FIELDS,
  logprobs: z.int().min(0).max(5).optional().describe('So many of the likeliest tokens beside each.'),
  echo: z.boolean().optional().describe('The prompt before the answer.'),
  best_of: z.int().optional(),
  suffix: z.string().optional(),
});
export type CompletionRequest = z.infer<typeof CompletionRequest>;

/** Answers to one body at most, over all its prompts. */
const MOST_ANSWERS = 64;

/** The prompts. @throws ElasticCacheError 'invalid-option' for what cannot be done */
export function promptsOf({
  prompt,
  n = 1,
  best_of = n,
  suffix = '',
  echo,
  logprobs,
}: CompletionRequest): string[] {
  if (best_of !== n)
    throw refused('best_of is not taken: this server returns every answer that it makes; leave it out');
  if (suffix !== '')
    throw refused('suffix is not taken: this model writes what comes next alone; leave it out');
  if (echo && logprobs !== undefined)
    throw refused('echo with logprobs is not taken: the prompt is not scored; leave one out');
  const prompts = typeof prompt === 'string' ? [prompt] : prompt;
  if (prompts.length * n > MOST_ANSWERS)
    throw refused(
      `${prompts.length} prompts with n = ${n} are more than ${MOST_ANSWERS} answers; send several requests`,
    );
  return prompts;
}

function refused(what: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', `${what}.`);
}
