import { InferenceSession, Tensor } from '#platform/ort.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import type { PolicyName } from '../../src/policies/registry.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { readMadeUpTurn } from '../made-up-turn.js';
import type { Contender } from './clocks.js';
import { randomNumbers, SHAPE } from './four-layers.js';

const { layers, hidden, kvHeads, headDim } = SHAPE;
const int64 = (values: bigint[] | BigInt64Array, dims: number[]) => new Tensor('int64', values, dims);

/**
 * The unmodified decoder as transformers.js drives it in Node: all outputs of a step come back, and each `present` tensor
 * is the `past_key_values` tensor of the next.
 */
export async function transformersLoop(path: string, cached: number, batch = 1): Promise<Contender> {
  const session = await InferenceSession.create(path);
  const parts = Array.from({ length: layers }, (_, i) => [`${i}.key`, `${i}.value`]).flat();
  const past = randomNumbers(batch * kvHeads * cached * headDim);
  const feeds: Record<string, Tensor> = {};
  for (const part of parts) {
    feeds[`past_key_values.${part}`] = new Tensor('float32', past, [batch, kvHeads, cached, headDim]);
  }
  let seen = cached;
  return async () => {
    const outputs = await session.run({
      ...feeds,
      inputs_embeds: new Tensor('float32', randomNumbers(batch * hidden), [batch, 1, hidden]),
      attention_mask: int64(new BigInt64Array(batch * (seen + 1)).fill(1n), [batch, seen + 1]),
      position_ids: int64(new BigInt64Array(batch).fill(BigInt(seen)), [batch, 1]),
      num_logits_to_keep: int64([1n], []),
    });
    for (const part of parts) feeds[`past_key_values.${part}`] = outputs[`present.${part}`]!;
    seen++;
    return outputs.logits;
  };
}

/** Megabytes of keys and values of `cached` tokens in each of `batch` sequences. @param bytes of one number */
export function cacheMegabytes(cached: number, batch: number, bytes: number): number {
  return (2 * layers * batch * kvHeads * cached * headDim * bytes) / 1e6;
}

/** Our decoder over a cache of `batch` sequences that have seen `cached` tokens each. */
export function elasticLoop(
  decoder: Decoder,
  cached: number,
  policy: PolicyName,
  budget: number,
  batch = 1,
): Contender {
  const cache = new ElasticCache({ policy, budget, layers, kvHeads, headDim, batch });
  const make = (tokens: number) => randomNumbers(kvHeads * tokens * headDim);
  for (let row = 0; row < batch; row++) {
    readMadeUpTurn(cache, layers, kvHeads, cached, make, Math.random, row);
  }
  return () => step(decoder, cache, batch);
}

/** Our decoder with nearly nothing in the cache: what a token costs whatever the method. */
export function emptyLoop(decoder: Decoder, batch = 1): Contender {
  return elasticLoop(decoder, 1, 'full', 1, batch);
}

function step(decoder: Decoder, cache: ElasticCache, batch: number): Promise<unknown> {
  const positionIds = int64(new Array<bigint>(batch).fill(BigInt(cache.seen)), [batch, 1]);
  const newTokens = new Tensor('float32', randomNumbers(batch * hidden), [batch, 1, hidden]);
  return decoder.run(cache, { newTokens, positionIds, logits: 'last' });
}
