import { InferenceSession, Tensor } from '#platform/ort.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import type { PolicyName } from '../../src/policies/registry.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { type Contender, interleaved, type Measured } from './clocks.js';
import { randomNumbers } from './four-layers.js';

const POLICIES = ['full', 'snapkv', 'elastic-plus', 'h2o'] as const satisfies PolicyName[];

/**
 * A prompt from its embeddings (or ids) to the logits of its last token and to a cache of a fifth: the unmodified decoder, which reads it in one pass, and ours under
 * several policies.
 * @param others contenders of the same shape
 * @param hidden size of an embedding; 0 where the decoder takes ids
 */
export async function prefill(
  path: string,
  decoder: Decoder,
  tokens: number,
  hidden: number,
  rounds: number,
  others: Readonly<Record<string, Contender>> = {},
): Promise<Record<string, Measured>> {
  const stock = await InferenceSession.create(path);
  const int64 = (length: number, of: (index: number) => number) =>
    new Tensor(
      'int64',
      BigInt64Array.from({ length }, (_, index) => BigInt(of(index))),
      [1, length],
    );
  const newTokens =
    hidden > 0
      ? new Tensor('float32', randomNumbers(tokens * hidden), [1, tokens, hidden])
      : int64(tokens, (index) => 100 + ((index * 7919) % 4000));
  const positionIds = int64(tokens, (index) => index);
  const unmodified = async () => {
    const feeds: Record<string, Tensor> = {
      [decoder.signature.tokenInput]: newTokens,
      attention_mask: int64(tokens, () => 1),
      position_ids: positionIds,
      num_logits_to_keep: new Tensor('int64', [1n], []),
    };
    for (const { name, shape } of stock.inputMetadata) {
      if (!name.startsWith('past_key_values')) continue;
      feeds[name] = new Tensor('float32', new Float32Array(0), [
        1,
        shape[1] as number,
        0,
        shape[3] as number,
      ]);
    }
    await stock.run(Object.fromEntries(stock.inputNames.map((name) => [name, feeds[name]!])));
  };
  const ours = (policy: PolicyName): Contender => {
    return async () => {
      const cache = new ElasticCache({ policy, budget: policy === 'full' ? 1 : 0.2 });
      cache.bind({ ...decoder.shape, batch: 1 }, decoder.windows);
      await decoder.run(cache, { newTokens, positionIds, logits: 'last' });
    };
  };
  try {
    const contenders = { 'transformers.js': unmodified, ...others };
    for (const policy of POLICIES) Object.assign(contenders, { [`elastic-cache, ${policy}`]: ours(policy) });
    return await interleaved(contenders, rounds);
  } finally {
    await stock.release();
  }
}
