import {
  LogitsProcessor,
  LogitsProcessorList,
  RepetitionPenaltyLogitsProcessor,
  type Tensor,
} from '@huggingface/transformers';
import { ElasticCacheError, shown } from '../../errors.js';

/** What changes the scores of tokens before one is chosen. */
export interface Penalties {
  /** Scores of tokens that prompt or answer hold are divided by it where they are above 0, else multiplied: above 0, 1 for none. */
  repetitionPenalty?: number | undefined;
  /** Taken off the score of each token that the answer holds; 0 for none. */
  presencePenalty?: number | undefined;
  /** Taken off the score of a token for each time that the answer holds it; 0 for none. */
  frequencyPenalty?: number | undefined;
  /** Added to the scores of tokens, by their ids; -Infinity, or -100 and less, for never. */
  logitBias?: Readonly<Record<number, number>> | undefined;
}

/** The names of these. */
export const PENALTIES = [
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'logitBias',
] as const satisfies (keyof Penalties)[];

/**
 * The processors of scores that do what is asked, those of transformers.js where it has them.
 * @param promptTokens tokens before the answer
 * @throws ElasticCacheError 'invalid-option'
 */
export function penalizing(asked: Penalties, promptTokens: number): LogitsProcessorList {
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, logitBias = {} } = asked;
  const isAbove0 = typeof repetitionPenalty === 'number' && repetitionPenalty > 0;
  checkNumber('repetitionPenalty', repetitionPenalty, isAbove0, 'a number above 0');
  checkNumber('presencePenalty', presencePenalty, true, 'a number');
  checkNumber('frequencyPenalty', frequencyPenalty, true, 'a number');
  const bias = Object.entries(Object(logitBias) as Record<string, number>).map(([id, added]) => {
    const isToken = Number.isSafeInteger(Number(id)) && Number(id) >= 0;
    if (isToken && typeof added === 'number' && !Number.isNaN(added)) return [Number(id), added] as const;
    throw refused(`logitBias of "${id}"`, added, 'a number, by the id of a token');
  });
  const processors = new LogitsProcessorList();
  if (repetitionPenalty !== 1) processors.push(new RepetitionPenaltyLogitsProcessor(repetitionPenalty));
  if (presencePenalty !== 0 || frequencyPenalty !== 0 || bias.length > 0) {
    processors.push(new Adjusted({ presencePenalty, frequencyPenalty, bias, promptTokens }));
  }
  return processors;
}

interface Adjustment {
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly bias: readonly (readonly [token: number, added: number])[];
  readonly promptTokens: number;
}

/** A score less what the token's own occurrences in the answer cost, and a bias: `score + bias - presence [n > 0] - frequency n`, as OpenAI's API defines it. */
class Adjusted extends LogitsProcessor {
  constructor(private readonly by: Adjustment) {
    super();
  }

  /** @param logits [rows, vocabulary], overwritten */
  override _call(rows: bigint[][], logits: Tensor): Tensor {
    const { presencePenalty, frequencyPenalty, bias, promptTokens } = this.by;
    const vocabulary = logits.dims.at(-1)!;
    const data = logits.data as Float32Array;
    rows.forEach((row, index) => {
      const scores = data.subarray(index * vocabulary, (index + 1) * vocabulary);
      const counts = new Map<number, number>();
      for (const id of row.slice(promptTokens)) counts.set(Number(id), (counts.get(Number(id)) ?? 0) + 1);
      for (const [token, count] of counts) scores[token]! -= presencePenalty + frequencyPenalty * count;
      for (const [token, added] of bias) {
        if (token < vocabulary) scores[token]! += added <= NEVER ? Number.NEGATIVE_INFINITY : added;
      }
    });
    return logits;
  }
}

/** What bans a token in OpenAI's API. */
const NEVER = -100;

function checkNumber(name: string, value: unknown, holds: boolean, wanted: string): void {
  if (typeof value !== 'number' || !Number.isFinite(value) || !holds) throw refused(name, value, wanted);
}

function refused(name: string, value: unknown, wanted: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', `${name} is ${shown(value)}; it must be ${wanted}.`);
}
