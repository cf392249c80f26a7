import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { refuseUnknown } from '../../options.js';
import { RequestError } from './errors.js';

/**
 * A list of so many parts, counted before any of them is looked at: of each that is wrong there would be a record, and a body may have millions.
 * @param wanted what it is, where it is no such list
 */
export function listOf<T extends z.ZodType>(part: T, least: number, most: number, wanted?: string) {
  return z.array(z.unknown(), wanted).min(least, wanted).max(most, wanted).pipe(z.array(part));
}

/** Answers to one request at most. */
export const MOST_CHOICES = 16;

const StopText = z.string().min(1).max(1000);
/** Tokens whose scores a request may change. */
const MOST_BIASED = 1024;

/** What both kinds of completions take, as OpenAI names it; `top_k`, `min_p` and `repetition_penalty` as vLLM does. */
export const SHARED_FIELDS = {
  model: z.string().optional().describe('The one model of this server; GET /v1/models names it.'),
  max_tokens: z.int().min(1).optional().describe('Longest answer, in tokens.'),
  temperature: z
    .number()
    .min(0)
    .max(2)
    .optional()
    .describe('0, the default here, always takes the likeliest token.'),
  top_p: z.number().gt(0).max(1).optional(),
  top_k: z.int().min(-1).optional().describe('Draw from so many of the likeliest tokens; 0 or -1 for all.'),
  min_p: z.number().min(0).max(1).optional(),
  repetition_penalty: z.number().gt(0).max(10).optional(),
  presence_penalty: z.number().min(-2).max(2).optional(),
  frequency_penalty: z.number().min(-2).max(2).optional(),
  logit_bias: z
    .unknown()
    .refine((bias) => Object.keys(Object(bias)).length <= MOST_BIASED, `give ${MOST_BIASED} tokens at most`)
    .pipe(
      z.record(z.string().regex(/^\d{1,9}$/, 'its names are ids of tokens'), z.number().min(-100).max(100)),
    )
    .optional()
    .describe('Added to the scores of tokens, by their ids; -100 bans one.'),
  seed: z.int().optional().describe('The same seed gives the same answer, whatever else runs.'),
  stop: z
    .union(
      [StopText, listOf(StopText, 0, 16)],
      'give a text of 1 to 1000 characters, or a list of 16 such at most',
    )
    .optional()
    .describe('Texts that end the answer, which is then what comes before them.'),
  response_format: z
    .discriminatedUnion(
      'type',
      [
        z.strictObject({ type: z.literal('text') }, 'beside this "type" it takes nothing'),
        z.strictObject(
          { type: z.literal('json_object') },
          'beside this "type" it takes nothing; a schema goes with {"type": "json_schema"}',
        ),
        z.strictObject(
          {
            type: z.literal('json_schema'),
            json_schema: z.strictObject(
              {
                schema: z.union([z.boolean(), z.record(z.string(), z.unknown())], 'give a JSON Schema'),
                name: z.string().optional(),
                description: z.string().optional(),
                strict: z.boolean().optional().describe('Without effect: answers are always valid by it.'),
              },
              'give {"name", "schema"}, with "description" and "strict" if you like',
            ),
          },
          'beside this "type" it takes "json_schema" alone',
        ),
      ],
      'its type is "text", "json_object" or "json_schema"',
    )
    .optional()
    .describe(
      'With `{"type": "json_schema", "json_schema": {"name", "schema"}}` the answer is JSON that is valid by the schema, unless `max_tokens` cut it; properties come in its order. The model is not told of it: say in the prompt what you want.',
    ),
  n: z.int().min(1).max(MOST_CHOICES).optional().describe('How many answers.'),
  stream: z.boolean().optional(),
  stream_options: z
    .object({ include_usage: z.boolean().optional() })
    .optional()
    .describe('With include_usage, the last chunk says what the answer took.'),
  elastic: z
    .strictObject(
      {
        policy: z.string().max(200).optional().describe('What the cache keeps, such as `elastic-plus`.'),
        budget: z
          .union([z.number(), z.string().max(40)], 'give a number or a text')
          .optional()
          .describe('How much of it: 0.2, "0.2:128tokens", "512tokens" or "64mb".'),
      },
      'it takes "policy" and "budget", as in {"budget": 0.2}',
    )
    .optional()
    .describe(
      'Of this server: the cache of this request. The headers x-elastic-policy and x-elastic-budget do the same.',
    ),
};

/** Fields that change no answer here, taken and left. */
const WITHOUT_EFFECT = [
  ...['user', 'metadata', 'store', 'service_tier', 'safety_identifier', 'prompt_cache_key'],
  ...['prompt_cache_retention', 'parallel_tool_calls'],
];

/** Fields that would change an answer, and cannot here. */
const CANNOT: Readonly<Record<string, string>> = {
  tools: 'Tools are not called by this server; leave tools out',
  functions: 'Functions are not called by this server; leave functions out',
  tool_choice: 'Tools are not called by this server; leave tool_choice out, or make it "none"',
  function_call: 'Functions are not called by this server; leave function_call out, or make it "none"',
  modalities: 'This server gives text alone; leave modalities out, or make it ["text"]',
  audio: 'This server gives text alone; leave audio out',
  prediction: 'Predicted output is of no use to this server; leave prediction out',
  web_search_options: 'This server searches nothing; leave web_search_options out',
};

/**
 * What a body of JSON asks for, checked.
 * @throws RequestError naming the first field that is wrong, ElasticCacheError for one that does not exist
 */
export function parseBody<T>(schema: z.ZodType<T> & { shape: Record<string, unknown> }, body: unknown): T {
  const fields = wanted(given(body));
  const refused = Object.keys(fields).find((name) => Object.hasOwn(CANNOT, name));
  if (refused !== undefined) throw wrong(refused, `${CANNOT[refused]}.`);
  refuseUnknown('This request', fields, Object.keys(schema.shape), (name) => WITHOUT_EFFECT.includes(name));
  const { success, data, error } = schema.safeParse(fields);
  if (success) return data;
  const { path, message } = innermost(error.issues[0]!);
  throw wrong(
    pathOf(path),
    `${path.length === 0 ? 'The body' : pathOf(path)} is wrong: ${lowered(message)}.`,
  );
}

function wrong(param: string, message: string): RequestError {
  return new RequestError(400, 'invalid_value', message, param === '' ? {} : { param });
}

/** What is wrong within a list of parts, say, rather than that neither it nor a text was found. */
function innermost(issue: z.core.$ZodIssue): Pick<z.core.$ZodIssue, 'path' | 'message'> {
  if (issue.code !== 'invalid_union') return issue;
  const within = issue.errors.map(([first]) => first!).find(({ path }) => path.length > 0);
  if (within === undefined) return issue;
  const { path, message } = innermost(within);
  return { path: [...issue.path, ...path], message };
}

/** The fields of a body that say something: null stands for what is not there. */
function given(body: unknown): Record<string, unknown> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new ElasticCacheError(
      'invalid-option',
      'The body of this request is no object of JSON; send one such as {"messages": [...]}.',
    );
  }
  return withoutNulls(body, DEEPEST) as Record<string, unknown>;
}

/** Objects and lists within another that a field of ours can be in: the `detail` of an image is. */
const DEEPEST = 6;

function withoutNulls(value: unknown, levels: number): unknown {
  if (typeof value !== 'object' || value === null || levels === 0) return value;
  if (Array.isArray(value)) return value.map((each) => withoutNulls(each, levels - 1));
  const said = Object.entries(value).filter(([, each]) => each !== null);
  // In a schema null is a value.
  return Object.fromEntries(
    said.map(([name, each]) => [name, name === 'schema' ? each : withoutNulls(each, levels - 1)]),
  );
}

/** The fields without those by which clients that could ask for more say that they do not. */
function wanted(fields: Record<string, unknown>): Record<string, unknown> {
  const callsNone = fields.tool_choice === 'none' || fields.function_call === 'none';
  const asksNothing: Record<string, (value: unknown) => boolean> = {
    tools: (value) => callsNone || isEmpty(value),
    functions: (value) => callsNone || isEmpty(value),
    tool_choice: isNoChoice,
    function_call: isNoChoice,
    modalities: (value) => Array.isArray(value) && value.every((each) => each === 'text'),
  };
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([name, value]) => !(Object.hasOwn(asksNothing, name) && asksNothing[name]!(value)),
    ),
  );
}

const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;
const isNoChoice = (value: unknown) => value === 'none' || value === 'auto';

/** `messages[0].content`. */
function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part).slice(0, 100)}`))
    .join('')
    .replace(/^\./, '');
}

function lowered(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}
