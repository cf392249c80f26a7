import { z } from 'zod';
import type { ParsedRecord, Task } from './dataset.js';
import { Text } from './record.js';

/** Tokens that are read of a text, and that perplexity is measured on after them, where a record does not say. */
const [PROMPT_TOKENS, TOKENS] = [1024, 64];

const Count = z.int().min(1);
const Asked = z.strictObject({
  id: z.union([z.string(), z.number()]).optional(),
  prompt: Text,
  image: Text.optional(),
  answer: Text.optional(),
  accepted: z.array(Text).min(1, 'it is empty').optional(),
  begun: Text.optional(),
  maxNewTokens: Count.optional(),
});
const Long = z.strictObject({
  id: z.union([z.string(), z.number()]).optional(),
  text: Text,
  promptTokens: Count.default(PROMPT_TOKENS),
  tokens: Count.default(TOKENS),
});

/**
 * A line of a JSON Lines file: `{ "prompt", "answer"?, "accepted"?, "image"?, "begun"?, "maxNewTokens"? }` asks something, about an image or not,
 * `answer` for perplexity and ROUGE, `accepted` for accuracy, one of which must be among the answer's words; `{ "text", "promptTokens"?, "tokens"? }` is a long text, whose first tokens are read and whose
 * next ones perplexity is measured on. Throws what is wrong with it, for people.
 */
export function parseLine(record: unknown, name: string): ParsedRecord {
  if (record !== null && typeof record === 'object' && 'text' in record) {
    const { text, promptTokens, tokens } = Long.parse(record);
    return { name, tasks: [longText(text, promptTokens, tokens)] };
  }
  const { prompt, image, answer, accepted, begun, maxNewTokens } = Asked.parse(record);
  if (image !== undefined && begun !== undefined)
    throw new Error('it has an image, and "begun" is for text alone');
  const task: Task = {
    name: 'question',
    prompt,
    ...(answer === undefined ? {} : { reference: answer }),
    ...(accepted === undefined ? {} : { accepted: accepted.map((one) => [one]), among: true }),
    ...(begun === undefined ? {} : { begun }),
    ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
  };
  return { name, image, tasks: [task] };
}

/** A text that is read for so many tokens and then gone on with. */
export function longText(text: string, promptTokens = PROMPT_TOKENS, tokens = TOKENS): Task {
  return { name: 'continuation', prompt: text, continuation: { promptTokens, tokens } };
}
