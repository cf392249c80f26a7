import { ElasticCache } from '../../src/elastic-cache.js';
import { median } from '../../src/eval/intervals.js';
import type { PolicyName } from '../../src/policies/registry.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { InferenceSession, Tensor } from '../../src/runtime/ort.js';
import { readMadeUpTurn } from '../made-up-turn.js';
import { randomNumbers, SHAPE } from './four-layers.js';

/** One way to decode: each call is one token. */
export type Step = () => Promise<unknown>;

const { layers, hidden, kvHeads, headDim } = SHAPE;
const embeds = new Tensor('float32', randomNumbers(hidden), [1, 1, hidden]);

const int64 = (values: bigint[] | BigInt64Array, dims: number[]) => new Tensor('int64', values, dims);

/**
 * The unmodified decoder as transformers.js drives it in Node: all outputs of a step come back, and each `present` tensor
 * is the `past_key_values` tensor of the next.
 */
export async function transformersLoop(path: string, cached: number): Promise<Step> {
  const session = await InferenceSession.create(path);
  const parts = Array.from({ length: layers }, (_, i) => [`${i}.key`, `${i}.value`]).flat();
  const past = randomNumbers(kvHeads * cached * headDim);
  const feeds: Record<string, Tensor> = {};
  for (const part of parts) {
    feeds[`past_key_values.${part}`] = new Tensor('float32', past, [1, kvHeads, cached, headDim]);
  }
  let seen = cached;
  return async () => {
    const outputs = await session.run({
      ...feeds,
      inputs_embeds: embeds,
      attention_mask: int64(new BigInt64Array(seen + 1).fill(1n), [1, seen + 1]),
      position_ids: int64([BigInt(seen)], [1, 1]),
      num_logits_to_keep: int64([1n], []),
    });
    for (const part of parts) feeds[`past_key_values.${part}`] = outputs[`present.${part}`]!;
    seen++;
    return outputs.logits;
  };
}

/** Our decoder over a cache that has seen `cached` tokens. */
export function elasticLoop(decoder: Decoder, cached: number, policy: PolicyName, budget: number): Step {
  const cache = new ElasticCache({ policy, budget, layers, kvHeads, headDim });
  readMadeUpTurn(
    cache,
    layers,
    kvHeads,
    cached,
    (tokens) => randomNumbers(kvHeads * tokens * headDim),
    Math.random,
  );
  return () => step(decoder, cache);
}

/** Our decoder with nothing in the cache: what a token costs whatever the method. */
export function emptyLoop(decoder: Decoder): Step {
  const cache = new ElasticCache({ policy: 'full', budget: 1, layers, kvHeads, headDim });
  return () => {
    cache.reset();
    return step(decoder, cache);
  };
}

function step(decoder: Decoder, cache: ElasticCache): Promise<unknown> {
  const positionIds = int64([BigInt(cache.seen)], [1, 1]);
  return decoder.run(cache, { newTokens: embeds, positionIds, logits: 'last' });
}

/** Steps of one turn. The first is not counted: it pays for what the contender before left to be collected. */
const STEPS_PER_TURN = 4;

/**
 * Milliseconds per step of each contender: they take turns of a few steps, so that whatever disturbs the machine
 * disturbs all of them; the median is reported.
 */
export async function interleaved(
  contenders: Record<string, Step>,
  rounds: number,
): Promise<Record<string, number>> {
  const times = new Map(Object.keys(contenders).map((name) => [name, [] as number[]]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(contenders)) {
      for (let count = 0; count < STEPS_PER_TURN; count++) {
        const start = performance.now();
        await run();
        if (round >= 0 && count > 0) times.get(name)!.push(performance.now() - start);
      }
    }
  }
  return Object.fromEntries([...times].map(([name, values]) => [name, median(values)]));
}
