import { z } from 'zod';
import type { ParsedRecord, Task } from '../dataset.js';
import { Text } from '../record.js';

/** Tokens that are read of a text, and that perplexity is measured on after them, where a record does not say. */
const [PROMPT_TOKENS, TOKENS] = [1024, 64];

const Count = z.int().min(1);
const Id = { id: z.union([z.string(), z.number()]).optional() };
/** What is counted is written as a number. */
const Answer = z.preprocess((value) => (typeof value === 'number' ? String(value) : value), Text);
const Question = {
  prompt: Text,
  answer: Answer.optional(),
  accepted: z.array(Answer).min(1, 'it is empty').optional(),
  begun: Text.optional(),
  maxNewTokens: Count.optional(),
};
const About = { image: Text.optional(), context: Text.optional() };
const Asked = z.strictObject({ ...Id, ...About, ...Question });
const AskedMuch = z.strictObject({
  ...Id,
  ...About,
  questions: z.array(z.strictObject(Question)).min(1, 'it is empty'),
});
const Summed = z.strictObject({
  ...Id,
  text: Text,
  summary: Text,
  prompt: Text.default('Summarise the text in a few sentences.'),
  maxNewTokens: Count.optional(),
});
const Long = z.strictObject({
  ...Id,
  text: Text,
  promptTokens: Count.optional(),
  tokens: Count.default(TOKENS),
});

/**
 * A line of a JSON Lines file, by what it has. `{ "prompt", "answer"?, "accepted"?, "begun"?, "maxNewTokens"? }` asks something, `answer` for perplexity and ROUGE, `accepted` for
 * accuracy, one of which must be among the answer's words; about an `image`, a `context` (a text that comes before the question), both or neither. With `questions`, a list of such, it asks
 * several about one. `{ "text", "summary" }` has a true summary. `{ "text", "promptTokens"?, "tokens"? }` is a long text, whose first tokens are read and whose next ones perplexity
 * is measured on. Throws what is wrong with it, for people.
 * @param promptTokens of a long text that does not say it
 */
export function parseLine(record: unknown, name: string, promptTokens?: number): ParsedRecord {
  const has = (key: string) => record !== null && typeof record === 'object' && key in record;
  if (has('summary')) return parseSummary(record, name);
  if (has('text')) {
    const { text, promptTokens: own = promptTokens, tokens } = Long.parse(record);
    return { name, tasks: [longText(text, own, tokens)] };
  }
  if (has('questions')) {
    const { image, context, questions } = AskedMuch.parse(record);
    const tasks = questions.map((each, index) => taskOf(each, `question ${index + 1}`, image));
    return { name, image, context, tasks };
  }
  const { image, context, ...question } = Asked.parse(record);
  return { name, image, context, tasks: [taskOf(question, 'question', image)] };
}

function parseSummary(record: unknown, name: string): ParsedRecord {
  const { text, summary, prompt, maxNewTokens } = Summed.parse(record);
  const task: Task = {
    name: 'summary',
    prompt,
    reference: summary,
    ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
  };
  return { name, context: text, tasks: [task] };
}

function taskOf(
  { prompt, answer, accepted, begun, maxNewTokens }: z.infer<z.ZodObject<typeof Question>>,
  name: string,
  image: string | undefined,
): Task {
  if (image !== undefined && begun !== undefined)
    throw new Error('it has an image, and "begun" is for text alone');
  return {
    name,
    prompt,
    ...(answer === undefined ? {} : { reference: answer }),
    ...(accepted === undefined ? {} : { accepted: accepted.map((one) => [one]), among: true }),
    ...(begun === undefined ? {} : { begun }),
    ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
  };
}

/** A text that is read for so many tokens and then gone on with. */
export function longText(text: string, promptTokens = PROMPT_TOKENS, tokens = TOKENS): Task {
  return { name: 'continuation', prompt: text, continuation: { promptTokens, tokens } };
}
