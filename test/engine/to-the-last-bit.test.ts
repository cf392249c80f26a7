import { afterAll, beforeAll, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import type { LoadedModel } from '../../src/index.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { LanePool } from '../../src/memory/lane-pool.js';
import { createPolicy } from '../../src/policies/registry.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { ElasticSession } from '../../src/runtime/elastic-session.js';
import { stackSequences } from '../../src/runtime/tensors.js';
import { HIDDEN } from '../families/tiny-parts.js';
import { tinyModel } from './tiny-engine.js';

let loaded: LoadedModel;
let remove: () => Promise<void>;
let decoder: Decoder;

beforeAll(async () => {
  ({ loaded, remove } = await tinyModel());
  const sessions = Object.values<unknown>(loaded.model.sessions);
  ({ decoder } = sessions.find((each) => each instanceof ElasticSession) as ElasticSession);
});
afterAll(() => remove());

/** New tokens of a sequence from `start` on. */
function input(of: number, start: number, tokens: number) {
  const numbers = Float32Array.from({ length: tokens * HIDDEN }, (_, i) =>
    Math.sin(of * 77 + start * HIDDEN + i),
  );
  const positions = BigInt64Array.from({ length: tokens }, (_, i) => BigInt(start + i));
  return {
    newTokens: new Tensor('float32', numbers, [1, tokens, HIDDEN]),
    positionIds: new Tensor('int64', positions, [1, tokens]),
    logits: 'last' as const,
  };
}

async function begun(of: number, tokens: number, budget: number): Promise<KVCache> {
  const cache = new KVCache({ policy: createPolicy('snapkv'), budget });
  cache.bind(decoder.shape, decoder.windows);
  await decoder.run(cache, input(of, 0, tokens));
  return cache;
}

it('logits of a token are the same whatever other lanes are in the pass, and however long these are', async () => {
  const sequences = [
    { tokens: 5, budget: 1 },
    { tokens: 300, budget: 1 },
    { tokens: 170, budget: 0.2 },
    { tokens: 41, budget: 0.5 },
    { tokens: 130, budget: 1 },
  ];
  const pool = new LanePool();
  const alone: KVCache[] = [];
  for (const [of, { tokens, budget }] of sequences.entries()) {
    pool.join(await begun(of, tokens, budget));
    alone.push(await begun(of, tokens, budget));
  }
  for (let step = 0; step < 20; step++) {
    const inputs = sequences.map(({ tokens }, of) => input(of, tokens + step, 1));
    const logits = await decoder.step(pool, {
      newTokens: stackSequences(
        inputs.map(({ newTokens }) => newTokens),
        0,
      ),
      positionIds: stackSequences(
        inputs.map(({ positionIds }) => positionIds),
        0,
      ),
    });
    const vocabulary = logits.dims[2]!;
    for (const [of, cache] of alone.entries()) {
      const own = await decoder.run(cache, inputs[of]!);
      const together = (logits.data as Float32Array).subarray(of * vocabulary, (of + 1) * vocabulary);
      expect(
        Buffer.from(together.slice().buffer).equals(Buffer.from((own.data as Float32Array).slice().buffer)),
      ).toBe(true);
    }
  }
});
