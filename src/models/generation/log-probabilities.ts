import { LogitsProcessor, type Tensor } from '@huggingface/transformers';
import { ElasticCacheError, shown } from '../../errors.js';

/** How likely a token was by the model's own scores, before temperature, penalties and limits: natural logarithms. */
export interface TokenLogprobs {
  readonly token: number;
  readonly logprob: number;
  /** The likeliest tokens, the likeliest first; as many as were asked for. */
  readonly top: readonly { readonly token: number; readonly logprob: number }[];
}

/** As many likeliest tokens as may be asked for. */
const MOST = 20;

/** Watches the scores of one sequence go by, and tells how likely the token was that came of them. */
export class LogProbabilities extends LogitsProcessor {
  #scores: Float32Array | undefined;

  /** @throws ElasticCacheError 'invalid-option' */
  constructor(private readonly top: number) {
    super();
    if (Number.isSafeInteger(top) && top >= 0 && top <= MOST) return;
    throw new ElasticCacheError(
      'invalid-option',
      `logprobs is ${shown(top)}; it must be a whole number from 0 to ${MOST}: how many of the likeliest tokens are told beside the one that was taken.`,
    );
  }

  /** @param logits [1, vocabulary], left as they are */
  override _call(_rows: bigint[][], logits: Tensor): Tensor {
    this.#scores = Float32Array.from(logits.data as Float32Array);
    return logits;
  }

  /** Of the token that was taken last. */
  of(token: number): TokenLogprobs {
    const scores = this.#scores!;
    const most = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const total = most + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - most), 0));
    const logprob = (each: number) => scores[each]! - total;
    return {
      token,
      logprob: logprob(token),
      top: likeliest(scores, this.top).map((each) => ({ token: each, logprob: logprob(each) })),
    };
  }
}

/** The ids of the highest scores, the highest first; of equal ones the lower id. */
function likeliest(scores: Float32Array, count: number): number[] {
  const top: number[] = [];
  if (count === 0) return top;
  scores.forEach((score, token) => {
    if (top.length === count && score <= scores[top.at(-1)!]!) return;
    const behind = top.findIndex((each) => score > scores[each]!);
    top.splice(behind < 0 ? top.length : behind, 0, token);
    if (top.length > count) top.pop();
  });
  return top;
}
