import { LogitsProcessor, LogitsProcessorList, Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import type { Inputs } from '../conversation/prepare-inputs.js';
import type { LoadedModel } from '../loaded-model.js';
import { plainGeneration } from './generation-settings.js';

/**
 * The tokens an answer has after the text of a prompt: what it adds to the prompt's when both are encoded together.
 * @throws ElasticCacheError 'invalid-prompt' when there are none, or the tokenizer makes one token of the end of the prompt and the
 *   beginning of the answer
 */
export function answerTokens({ tokenizer }: LoadedModel, before: string, answer: string): number[] {
  const gap = /\s$/.test(before) ? '' : ' ';
  const known = tokenizer.encode(before);
  const both = tokenizer.encode(`${before}${gap}${answer}`);
  if (both.length > known.length && known.every((token, index) => token === both[index])) {
    return both.slice(known.length);
  }
  throw new ElasticCacheError(
    'invalid-prompt',
    `the answer "${answer.slice(0, 40)}" has no tokens of its own after its prompt; its perplexity cannot be measured.`,
  );
}

/**
 * The first tokens of a long text as a prompt, and the tokens that follow it there.
 * @throws ElasticCacheError 'invalid-prompt' when none follows
 */
export function splitText(
  { tokenizer }: LoadedModel,
  text: string,
  promptTokens: number,
): { inputs: Inputs; following: number[] } {
  const all = tokenizer.encode(text);
  if (all.length <= promptTokens) {
    throw new ElasticCacheError(
      'invalid-prompt',
      `the text has ${all.length} tokens, and none follows a prompt of ${promptTokens}; give a longer text or a shorter prompt.`,
    );
  }
  const ids = BigInt64Array.from(all.slice(0, promptTokens), BigInt);
  const tensor = (data: BigInt64Array) => new Tensor('int64', data, [1, data.length]);
  return {
    inputs: { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1n)) },
    following: all.slice(promptTokens),
  };
}

/**
 * How unlikely a model finds each token of a given answer, [tokens] in nats: -log p(token | prompt, tokens before it).
 *
 * The answer is forced through `generate()` token by token, so every token is judged through the cache as it stands at that
 * step, after its compression and evictions; the first one by the logits of the last token of the prompt that the cache has not seen.
 * @param cache empty, or as `readCompressed` left it
 */
export async function answerSurprise(
  { model }: LoadedModel,
  inputs: Inputs,
  tokens: readonly number[],
  cache: KVCache,
): Promise<Float64Array> {
  const forcing = new Forcing(tokens);
  const logits_processor = new LogitsProcessorList();
  logits_processor.push(forcing);
  await model.generate({
    ...inputs,
    ...plainGeneration(tokens.length),
    past_key_values: cache,
    logits_processor,
  });
  return forcing.surprise;
}

/** Notes what each wanted token costs, then leaves the model no other choice. */
class Forcing extends LogitsProcessor {
  readonly surprise: Float64Array;
  private step = 0;

  constructor(private readonly tokens: readonly number[]) {
    super();
    this.surprise = new Float64Array(tokens.length);
  }

  /** @param logits [1, vocab] */
  override _call(_ids: bigint[][], logits: Tensor): Tensor {
    const scores = logits.data as Float32Array;
    const wanted = this.tokens[this.step]!;
    this.surprise[this.step++] = logSumExp(scores) - scores[wanted]!;
    scores.fill(Number.NEGATIVE_INFINITY);
    scores[wanted] = 0;
    return logits;
  }
}

/** log(sum(exp(scores))), in float64: a vocabulary is many small terms. */
function logSumExp(scores: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const score of scores) most = Math.max(most, score);
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - most);
  return most + Math.log(sum);
}
