import { z } from 'zod';

/** What each `--json` prints. docs/json.md has the same as JSON Schema. */

const milliseconds = z.number().min(0).nullable();
const tokens = z.int().min(0);
const bytes = z.int().min(0);

const asked = {
  version: z.string().describe('of elastic-cache'),
  model: z.string().describe('an id on the Hub, or a directory'),
  dtype: z.string().nullable().describe("as it was asked for; null for the model's own choice"),
  image: z.array(z.string()).describe('as they were given'),
  prompt: z.string(),
  policy: z.string(),
  budget: z.string().describe('as it is typed: 0.2, 256tokens or 64mb'),
  endSize: tokens.nullable().describe('as it was asked for; null where it was not'),
};

const held = {
  tokensHeld: tokens,
  bytesHeld: bytes,
  bytesAllocated: bytes.describe('with room for what is to come'),
};

const Stats = z.strictObject({
  policy: z.string(),
  tokensSeen: tokens,
  ...held,
  bytesFull: bytes.describe('what a cache that keeps everything would hold'),
  layers: z.array(z.strictObject(held)),
});

const Timings = z.strictObject({
  prefillMs: milliseconds.describe('from the first look at the images to the first new token'),
  msPerToken: milliseconds.describe('mean over the new tokens after the first; null where there is none'),
});

/** `generate --json` */
export const GenerateResult = z.strictObject({
  ...asked,
  text: z.string(),
  finishReason: z.enum(['stop', 'length', 'stop-string', 'aborted']),
  promptTokens: tokens,
  newTokens: tokens,
  stats: Stats,
  timings: Timings,
});
export type GenerateResult = z.infer<typeof GenerateResult>;

/** `compare --json`: a row for each policy and budget, the full cache first. */
export const CompareResult = z.array(
  GenerateResult.extend({
    agreement: z.number().min(0).max(1).describe("ROUGE-L's F1 against the full cache"),
  }),
);
export type CompareResult = z.infer<typeof CompareResult>;

/** `explain --json` */
export const ExplainResult = z.looseObject({
  ...asked,
  layers: z.array(z.looseObject({ layer: tokens, attention: z.array(z.number()) })),
});

/** `inspect --json` */
export const InspectResult = z.looseObject({
  version: asked.version,
  file: z.string(),
  decoder: z.looseObject({ layers: z.array(z.looseObject({ index: tokens })) }),
  report: z.looseObject({}),
  cacheBytesPerToken: bytes,
  operators: z.array(z.strictObject({ name: z.string(), count: tokens })),
});

const Estimate = z.strictObject({
  value: z.number(),
  low: z.number().nullable().describe('of the 95% interval; null where there is none'),
  high: z.number().nullable(),
});
const measure = Estimate.optional();

/** `eval --json`; a measure that was not asked for is absent. */
export const EvalResult = z.strictObject({
  quality: z.array(
    z.strictObject({
      policy: z.string(),
      budget: asked.budget,
      answers: tokens.describe('behind perplexity and ROUGE'),
      held: z.number().describe('entries held as a share of the tokens seen'),
      asked: tokens,
      perplexity: measure,
      meanPerplexity: measure,
      timesFull: measure.describe('perplexity as a multiple of that with the full cache'),
      rouge1: measure,
      rouge2: measure,
      rougeL: measure,
      rougeLUnion: measure,
      accuracy: Estimate.extend({ right: tokens, total: tokens }).optional(),
    }),
  ),
  latency: z.array(
    z.strictObject({
      policy: z.string(),
      budget: asked.budget,
      shape: z.string().describe('own, or the tokens of prompt and output: 1024+512 x 4'),
      runs: tokens,
      promptTokens: z.number(),
      newTokens: z.number(),
      prefillMs: Estimate,
      msPerToken: Estimate,
      tokensPerSecond: Estimate,
      bytesHeld: z.number(),
      bytesPeak: z.number(),
    }),
  ),
  skipped: z.array(z.strictObject({ name: z.string(), reason: z.string() })),
});
