import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import { type CachePolicy, keepAll } from '../../src/cache/policy.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { serializeModel } from '../../src/graph/onnx/onnx.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { full } from '../../src/policies/full.js';
import { type PolicyName, policyNames } from '../../src/policies/registry.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
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

/** The slow way: what a cache holds, in logical order, copied into a cache without rows to spare. */
function copyOf(cache: KVCache): KVCache {
  const { layers, kvHeads, headDim } = decoder.shape;
  const { heads = 'shared', logCountBias = 0 } = cache.policy;
  const each = heads !== 'shared';
  const lists = Array.from({ length: each ? kvHeads : 1 }, (_, list) => list);
  const held = Array.from({ length: layers }, (_, layer) =>
    lists.map((list) => cache.entries(layer, 0, list).positions.length),
  );
  const most = Math.max(...held.flat());
  // Layers and heads may hold different numbers: all are given as many rows, and what is too much is dropped at once.
  const policy: CachePolicy = {
    ...full(),
    heads,
    logCountBias,
    begin: () => ({
      compress: () => held.map((counts) => counts.map((count) => keepAll(count))),
      evict: () => -1,
    }),
  };
  const copy = bound(new KVCache({ policy, budget: 1 }));
  const rows = held.map((counts, layer) => {
    const byHead = (name: 'keys' | 'values') => {
      const target = new Float32Array(most * kvHeads * headDim);
      for (let head = 0; head < kvHeads; head++) {
        const [list, place] = each ? [head, 0] : [0, head];
        const source = cache.entries(layer, 0, list)[name];
        const width = each ? headDim : kvHeads * headDim;
        for (let index = 0; index < counts[list]!; index++) {
          const from = index * width + place * headDim;
          target.set(source.subarray(from, from + headDim), (head * most + index) * headDim);
        }
      }
      return target;
    };
    return { keys: byHead('keys'), values: byHead('values') };
  });
  copy.appendTurn(rows, most);
  for (let layer = 0; layer < layers && logCountBias > 0; layer++) {
    const { bias, capacity, layout } = copy.past(layer);
    for (const list of lists) {
      const { counts } = cache.entries(layer, 0, list);
      counts.forEach((count, row) => {
        bias[list * capacity + layout.offset(0, list) + row] = logCountBias * Math.log(count);
      });
    }
  }
  return copy;
}

describe('a decode step over rows', () => {
  const compact = (name: PolicyName) =>
    new ElasticCache({ policy: name, budget: 0.3 }).policy.compactPositions;

  it.each(policyNames)('of policy %s sees what the cache holds, whatever their rows', async (policy) => {
    const cache = bound(new ElasticCache({ policy, budget: 0.3 }));
    cache.noteImage(Uint8Array.from({ length: 90 }, (_, token) => (token < 70 ? 1 : 0)));
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
  const beyond = (tokens: number, start: number) => {
    const given = input(tokens, start);
    (given.positionIds.data as BigInt64Array)[tokens - 1] = BigInt(LONGEST + 5);
    return given;
  };

  it('leaves an empty cache empty', async () => {
    const cache = bound(new ElasticCache({ budget: 0.3 }));
    await expect(decoder.run(cache, beyond(300, 0))).rejects.toThrow(
      /^The text has \d+ tokens and this model's decoder does not take as many, .*out of range/,
    );
    expect(cache.seen).toBe(0);
    await decoder.run(cache, input(20));
    expect(cache.seen).toBe(20);
  });

  it.each(['elastic', 'h2o', 'snapkv'] as const)('leaves a later turn unread: %s', async (policy) => {
    const caches = [0, 1].map(() => bound(new ElasticCache({ policy, budget: 0.3 })));
    for (const cache of caches) await decoder.run(cache, input(60));
    const before = caches[0]!.entries(1);
    await expect(decoder.run(caches[0]!, beyond(300, 60))).rejects.toThrow(/does not take as many/);
    await expect(decoder.run(caches[0]!, beyond(1, 60))).rejects.toThrow(/does not take as many/);
    expect([caches[0]!.seen, caches[0]!.begun, caches[0]!.entries(1)]).toEqual([60, true, before]);
    const logits: unknown[] = [];
    for (const cache of caches) {
      await decoder.run(cache, input(40, 60));
      logits.push((await decoder.run(cache, input(1, 100))).data);
    }
    expect(logits[0]).toEqual(logits[1]);
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
  // What is known of an entry is 24 bytes, and as many heads tell it as choose for themselves; heads of 32 numbers are small beside that.
  it.each([
    ['snapkv', 0.1],
    ['elastic-plus', 0.2],
  ] as const)('is what stats() says, for the process too: %s', async (policy, beside) => {
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
    await run(bound(new ElasticCache({ policy, budget: 0.2 }), batch));
    const before = await settled();
    const cache = await run(bound(new ElasticCache({ policy, budget: 0.2 }), batch));
    const used = (await settled()) - before;
    const { bytesAllocated, bytesHeld, bytesFull } = cache.stats();
    expect(bytesFull).toBe(1520 * 2 * 4 * 32 * 2 * 4 * batch);
    expect(bytesHeld).toBe(Math.floor(0.2 * 1520) * 2 * 4 * 32 * 2 * 4 * batch);
    expect(bytesAllocated).toBeLessThan(bytesHeld * 1.15);
    expect(Math.abs(used - bytesAllocated)).toBeLessThan(bytesAllocated * beside);
  });
});
