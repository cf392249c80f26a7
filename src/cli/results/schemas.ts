import { z } from 'zod';
import { ANSWERS, FIRST_TOKENS, IMAGE_PLACES, LAST_TOKENS, QUESTIONS } from '../../eval/data/protocol.js';

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

const finishReason = z.enum(['stop', 'length', 'stop-string', 'aborted']);

/** `generate --json` */
export const GenerateResult = z.strictObject({
  ...asked,
  text: z.string(),
  finishReason,
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

const Grid = z.strictObject({
  rows: tokens,
  columns: tokens,
  box: z
    .strictObject({ x: z.number(), y: z.number(), width: z.number(), height: z.number() })
    .describe(
      'what of the photo it covers, in its pixels; parts may lie outside, where the processor padded',
    ),
  tiles: z
    .strictObject({
      rows: tokens,
      columns: tokens,
      gap: z.number().describe("what lies between two tiles, as a share of a patch's side"),
    })
    .optional()
    .describe('the pictures that the processor cut the photo into; absent where it is one'),
});

/** `explain --json`; with --layer its `layers` have that one alone. */
export const ExplainResult = z.strictObject({
  ...asked,
  queries: tokens.describe('whose attention counts: the last so many tokens of the prompt'),
  tokens: z.array(
    z.strictObject({
      id: tokens,
      text: z.string(),
      patch: z
        .strictObject({ grid: tokens.describe('index in grids'), row: tokens, column: tokens })
        .nullable()
        .optional()
        .describe('of an image token; null for one that lies on no grid'),
    }),
  ),
  grids: z.array(Grid).describe('where the image tokens lie on the photo'),
  noGrid: z.string().optional().describe('why there is no grid for the image'),
  layers: z.array(
    z.strictObject({
      layer: tokens,
      held: tokens.describe("entries held, of the prompt's tokens"),
      attention: z
        .array(z.number())
        .describe('for each token, what it received: summed over queries, averaged over heads'),
      anchor: z
        .array(tokens.nullable())
        .describe(
          'for each token, the one whose entry holds it: itself where it stayed, null where it was dropped',
        ),
    }),
  ),
});
export type ExplainResult = z.infer<typeof ExplainResult>;

/** What `/save` of a chat writes to a .json file. */
export const Conversation = z.strictObject({
  version: asked.version,
  model: asked.model,
  dtype: asked.dtype,
  policy: asked.policy,
  budget: asked.budget,
  system: z.string().nullable().describe('what the model was told before the first turn'),
  turns: z.array(
    z.strictObject({
      image: asked.image,
      prompt: z.string(),
      answer: z.string(),
      finishReason,
    }),
  ),
});
export type Conversation = z.infer<typeof Conversation>;

/** `inspect --json` */
export const InspectResult = z.strictObject({
  version: asked.version,
  file: z.string(),
  decoder: z
    .strictObject({
      layers: z.array(
        z.strictObject({
          index: tokens,
          queryHeads: tokens,
          kvHeads: tokens,
          headDim: tokens,
          window: tokens.optional().describe('the latest tokens that a token sees; absent when it sees all'),
        }),
      ),
      tokenInput: z.enum(['inputs_embeds', 'input_ids']),
      target: z.enum(['host', 'gpu']).describe('what it is rewritten for'),
      past: z.enum(['float32', 'float16', 'int8']).describe('how keys and values are held'),
      stockPast: z.enum(['float32', 'float16']).describe('how the unmodified decoder holds them'),
      positionIds: z.enum(['batch-sequence', 'three-batch-sequence', 'absent']),
      countsTokens: z.literal(true).optional().describe('present when the original takes no positions'),
      longestText: tokens
        .optional()
        .describe(
          'the tokens of the longest text, where the original runs no longer one because its mask is no wider',
        ),
      textLength: z.literal(true).optional().describe('present when it rotates by the length of the text'),
      otherInputs: z.array(z.string()),
      otherOutputs: z.array(z.string()),
    })
    .describe('what the rewritten decoder takes and gives'),
  report: z.strictObject({
    layers: z
      .array(
        z.strictObject({
          pattern: z.string().describe('the operator: GroupQueryAttention, MatMul ...'),
          node: z.string(),
          packed: z.boolean().describe('whether queries, keys and values come as one tensor'),
          rope: z.enum(['inside', 'outside']).describe('of the attention node'),
        }),
      )
      .describe('how each layer attends in the original'),
    nodesBefore: tokens,
    nodesAfter: tokens,
    removedInputs: z.array(z.string()),
  }),
  cacheBytesPerToken: bytes.describe('keys and values over all layers, as `past` says'),
  operators: z.array(z.strictObject({ name: z.string(), count: tokens })),
});

export type InspectResult = z.infer<typeof InspectResult>;

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
      trueRouge1: measure.describe('against the true answer'),
      trueRouge2: measure,
      trueRougeL: measure,
      trueRougeLOfFull: measure.describe('as a multiple of that with the full cache'),
      accuracy: Estimate.extend({ right: tokens, total: tokens }).optional(),
      accuracyOfFull: measure.describe('as a multiple of that with the full cache'),
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
      seconds: Estimate.describe('prompt and output together'),
      totalTokensPerSecond: Estimate.describe('tokens of all rows in that time'),
      bytesHeld: z.number(),
      bytesPeak: z.number(),
    }),
  ),
  protocol: z
    .strictObject({
      question: z.enum(QUESTIONS).describe('whether it was known when the cache was compressed'),
      system: z.string().optional(),
      imagePlace: z.enum(IMAGE_PLACES),
      padImages: z.boolean(),
      answers: z.enum(ANSWERS),
      firstToken: z.enum(FIRST_TOKENS),
      lastToken: z.enum(LAST_TOKENS),
    })
    .describe('how records were shown, and which tokens counted: docs/evaluation.md'),
  skipped: z.array(
    z.strictObject({
      name: z.string(),
      reason: z.string(),
      line: tokens.optional().describe('of its file, where a record is one'),
    }),
  ),
});
