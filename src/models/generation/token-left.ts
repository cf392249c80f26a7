import { LogitsProcessor, LogitsProcessorList, type Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';

/** Refuses scores that leave no token to go on with: the "likeliest" of them would be whatever has id 0. */
class TokenLeft extends LogitsProcessor {
  /** @param logits [rows, vocabulary], left as they are @throws ElasticCacheError 'invalid-option' */
  override _call(_rows: bigint[][], logits: Tensor): Tensor {
    const [rows, vocabulary] = logits.dims as [number, number];
    const data = logits.data as Float32Array;
    for (let row = 0; row < rows; row++) {
      const scores = data.subarray(row * vocabulary, (row + 1) * vocabulary);
      // As a rule the first has a score.
      if (scores.some((score) => score !== Number.NEGATIVE_INFINITY)) continue;
      throw new ElasticCacheError(
        'invalid-option',
        'Every token that the answer could go on with is banned, by a bias, a processor of scores or the settings of the generation; leave one at least.',
      );
    }
    return logits;
  }
}

/** These processors of scores, and behind them a look at what they left. */
export function leavingOne(given: unknown): LogitsProcessorList {
  const processors = new LogitsProcessorList();
  for (const processor of (given ?? []) as Iterable<LogitsProcessor>) processors.push(processor);
  processors.push(new TokenLeft());
  return processors;
}
