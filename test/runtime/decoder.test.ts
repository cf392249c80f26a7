import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KVCache } from '../../src/cache/kv-cache.js';
import { type CachePolicy, keepAll } from '../../src/cache/policy.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { serializeModel } from '../../src/graph/onnx/onnx.js';
import { full } from '../../src/policies/full.js';
import { type PolicyName, policyNames } from '../../src/policies/registry.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
import { Tensor } from '../../src/runtime/ort.js';
import { buildGqaDecoder, gaussian } from '../graph/gqa-decoder.js';

const HIDDEN = 64;
const LONGEST = 2048;

let directory: string;
let decoder: Decoder;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'decoder-'));
  const path = join(directory, 'decoder.onnx');
  const model = buildGqaDecoder({ hidden: HIDDEN, kvHeads: 4, headDim: 32, longest: LONGEST });
  await writeFile(path, serializeModel(model));
  decoder = await openDecoder(path, { chunk: 128 });
});

afterAll(async () => {
  await decoder.release();
  await rm(directory, { recursive: true });
});

/** Random new tokens [batch, tokens] at the positions from `start`. */
function input(tokens: number, start = 0, batch = 1) {
  const random = gaussian(tokens + start + 1);
  const embeds = Float32Array.from({ length: batch * tokens * HIDDEN }, random);
  const positions = BigInt64Array.from({ length: batch * tokens }, (_, i) => BigInt(start + (i % tokens)));
  return {
    newTokens: new Tensor('float32', embeds, [batch, tokens, HIDDEN]),
    positionIds: new Tensor('int64', positions, [batch, tokens]),
    logits: 'last' as const,
  };
}

function bound(cache: KVCache, batch = 1): KVCache {
  cache.bind({ ...decoder.shape, batch });
  return cache;
}

/** The slow way: what a cache holds, in logical order, copied into a cache without slots to spare. */
function copyOf(cache: KVCache): KVCache {
  const { layers, kvHeads, headDim } = decoder.shape;
  const held = Array.from({ length: layers }, (_, layer) => cache.held(layer));
  const most = Math.max(...held);
  // Layers may hold different numbers: all are given as many rows, and what is too much is dropped at once.
  const policy: CachePolicy = {
    ...full(),
    begin: () => ({ prefill: () => held.map((count) => keepAll(count)), evict: () => -1 }),
  };
  const copy = bound(new KVCache({ policy, budget: 1 }));
  function byHead(source: Float32Array, count: number): Float32Array {
    const target = new Float32Array(most * kvHeads * headDim);
    for (let index = 0; index < count; index++) {
      for (let head = 0; head < kvHeads; head++) {
        const from = (index * kvHeads + head) * headDim;
        target.set(source.subarray(from, from + headDim), (head * most + index) * headDim);
      }
    }
    return target;
  }
  const rows = held.map((count, layer) => {
    const { keys, values } = cache.entries(layer);
    return { keys: byHead(keys, count), values: byHead(values, count) };
  });
  copy.append(rows, most);
  return copy;
}

describe('a decode step over slots', () => {
  const compact = (name: PolicyName) =>
    new ElasticCache({ policy: name, budget: 0.3 }).policy.compactPositions;

  it.each(policyNames)('of policy %s sees what the cache holds, whatever the slots', async (policy) => {
    const cache = bound(new ElasticCache({ policy, budget: 0.3 }));
    cache.noteImage([Uint8Array.from({ length: 90 }, (_, token) => (token < 70 ? 1 : 0))]);
    await decoder.run(cache, input(90));
    for (let step = 0; step < 40; step++) {
      const token = input(1, 90 + step);
      const copy = copyOf(cache);
      const at = compact(policy) ? cache.held(0) : 90 + step;
      const positionIds = new Tensor('int64', [BigInt(at)], [1, 1]);
      const expected = (await decoder.run(copy, { ...token, positionIds })).data as Float32Array;
      const actual = (await decoder.run(cache, token)).data as Float32Array;
      expect(Math.max(...actual.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(1e-4);
    }
    expect(cache.seen).toBe(130);
  });
});

describe('a run that fails midway', () => {
  it('leaves an empty cache', async () => {
    const cache = bound(new ElasticCache({ policy: 'elastic', budget: 0.3 }));
    const tokens = 300;
    const beyond = input(tokens);
    (beyond.positionIds.data as BigInt64Array)[tokens - 1] = BigInt(LONGEST + 5);
    await expect(decoder.run(cache, beyond)).rejects.toThrow(
      /^The decoder cannot run 44 tokens after 256; is the text longer than the model takes\? \(.*out of range/,
    );
    expect(cache.seen).toBe(0);
    await decoder.run(cache, input(20));
    expect(cache.seen).toBe(20);
  });
});

it('refuses to run no tokens', async () => {
  const cache = bound(new ElasticCache({ budget: 0.3 }));
  await decoder.run(cache, input(20));
  await expect(decoder.run(cache, input(0))).rejects.toMatchObject({
    code: 'invalid-prompt',
    message: `There are no tokens to run (the inputs are of shape [1, 0, ${HIDDEN}]); pass at least one.`,
  });
  expect(cache.seen).toBe(20);
});

describe('memory', () => {
  it('is what stats() says, for the process too', async () => {
    setFlagsFromString('--expose_gc');
    const collect = runInNewContext('gc') as () => void;
    const settled = async () => {
      for (let i = 0; i < 3; i++) {
        collect();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return process.memoryUsage().arrayBuffers;
    };
    const batch = 2;
    const run = async (cache: KVCache) => {
      await decoder.run(cache, input(1500, 0, batch));
      for (let step = 0; step < 20; step++) await decoder.run(cache, input(1, 1500 + step, batch));
      return cache;
    };
    await run(bound(new ElasticCache({ budget: 0.2 }), batch));
    const before = await settled();
    const cache = await run(bound(new ElasticCache({ budget: 0.2 }), batch));
    const used = (await settled()) - before;
    const { bytesAllocated, bytesHeld, bytesFull } = cache.stats();
    expect(bytesFull).toBe(1520 * 2 * 4 * 32 * 2 * 4 * batch);
    expect(bytesHeld).toBe(Math.floor(0.2 * 1520) * 2 * 4 * 32 * 2 * 4 * batch);
    expect(bytesAllocated).toBeLessThan(bytesHeld * 1.15);
    expect(Math.abs(used - bytesAllocated)).toBeLessThan(bytesAllocated * 0.1);
  });
});
