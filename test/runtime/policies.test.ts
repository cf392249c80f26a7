import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CachePolicy, keepAll } from '../../src/cache/policy.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { KeyTurn } from '../../src/memory/turns/rotation.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { picture } from '../picture.js';
import { IMAGE_TOKEN, IMAGE_TOKENS, SHAPE, writeTinyLlava } from './tiny-llava.js';

const WORDS = Array.from({ length: 40 }, (_, i) => `w${(i * 7) % 90}`).join(' ');
const LENGTH = 1 + IMAGE_TOKENS + 40;

const made: { directory: string; loaded: LoadedModel }[] = [];

async function tinyModel(options: Parameters<typeof writeTinyLlava>[1] = {}, chunk = 512) {
  const directory = await mkdtemp(join(tmpdir(), 'tiny-llava-'));
  await writeTinyLlava(directory, options);
  const loaded = await loadElastic(directory, { chunk });
  made.push({ directory, loaded });
  return loaded;
}

let whole: LoadedModel;
let chunked: LoadedModel;

beforeAll(async () => {
  whole = await tinyModel();
  chunked = await tinyModel({}, 7);
});

afterAll(async () => {
  for (const { directory, loaded } of made) {
    await loaded.model.dispose();
    await rm(directory, { recursive: true });
  }
});

async function prompt({ processor }: LoadedModel) {
  return await processor!(picture(37), `<s> <image> ${WORDS}`);
}

/** The cache after a prompt and so many new tokens. */
async function filled<Cache extends KVCache>(loaded: LoadedModel, cache: Cache, tokens = 1): Promise<Cache> {
  await loaded.model.generate({ ...(await prompt(loaded)), max_new_tokens: tokens, past_key_values: cache });
  return cache;
}

const layers = <T>(make: (layer: number) => T) =>
  Array.from({ length: SHAPE.layers }, (_, layer) => make(layer));

/** [layers] of [tokens] the importance of a prompt of `length` tokens as a policy with this window is told it. */
async function importance(loaded: LoadedModel, window: number | undefined, length = LENGTH) {
  let seen: Float64Array[] = [];
  const policy: CachePolicy = {
    name: 'watching',
    attention: 'turn',
    minimum: 0,
    window,
    begin: () => ({
      compress(layers) {
        seen = layers.map(([view]) => view!.importance.slice());
        return layers.map(([view]) => [keepAll(view!.tokens)]);
      },
      evict: () => -1,
    }),
  };
  const { input_ids, attention_mask, ...rest } = await prompt(loaded);
  await loaded.model({
    ...rest,
    input_ids: input_ids.slice(null, [0, length]),
    attention_mask: attention_mask.slice(null, [0, length]),
    past_key_values: new KVCache({ policy, budget: 1 }),
  });
  return seen;
}

describe('an observation window', () => {
  it('holds what its queries attend to and nothing else, in chunks of any size', async () => {
    const window = 11;
    const [all, before] = [
      await importance(whole, undefined),
      await importance(whole, undefined, LENGTH - window),
    ];
    for (const loaded of [whole, chunked]) {
      const inWindow = await importance(loaded, window);
      inWindow.forEach((layer, index) => {
        expect(layer).toHaveLength(LENGTH);
        layer.forEach((value, token) => {
          expect(value).toBeCloseTo(all[index]![token]! - (before[index]![token] ?? 0), 4);
        });
      });
    }
  });

  it.each(['snapkv', 'pyramidkv:window=10', 'elastic:importance=window:window=3', 'prefixkv'] as const)(
    '%s keeps the same in chunks as at once',
    async (policy) => {
      const caches = [whole, chunked].map((loaded) =>
        filled(loaded, new ElasticCache({ policy, budget: 0.4 }), 12),
      );
      const [a, b] = await Promise.all(caches);
      expect(layers((layer) => a!.entries(layer).positions)).toEqual(
        layers((layer) => b!.entries(layer).positions),
      );
    },
  );
});

describe('layers of different lengths', () => {
  it.each(['prefixkv', 'pyramidkv', 'elastic:layerBudgets=adaptive:eviction=importance'] as const)(
    '%s: their mean is the budget at every step',
    async (policy) => {
      const cache = await filled(whole, new ElasticCache({ policy, budget: 0.5 }), 30);
      const held = layers((layer) => cache.held(layer));
      expect(held[0]).not.toBe(held[1]);
      const expected = Math.floor(0.5 * cache.seen);
      expect(held[0]! + held[1]!).toBe(SHAPE.layers * expected);
      const { tokensHeld, bytesHeld } = cache.stats();
      expect([tokensHeld, bytesHeld]).toEqual([
        expected,
        SHAPE.layers * expected * SHAPE.kvHeads * SHAPE.headDim * 8,
      ]);
    },
  );
});

describe('protected text', () => {
  it('is told from the image by the ids that generate() is given', async () => {
    const cache = await filled(
      whole,
      new ElasticCache({ policy: 'elastic', budget: 0.8, protectText: true }),
    );
    const { input_ids } = await prompt(whole);
    const text = Array.from(input_ids.data as BigInt64Array).flatMap((id, position) =>
      Number(id) === IMAGE_TOKEN ? [] : [position],
    );
    expect(text).toHaveLength(LENGTH - IMAGE_TOKENS);
    for (const layer of [0, 1]) {
      const { positions, counts } = cache.entries(layer);
      expect(Array.from(positions)).toEqual(expect.arrayContaining(text));
      expect(counts.reduce((sum, count) => sum + count)).toBe(LENGTH);
    }
  });
});

describe('keys turned to their anchor', () => {
  it.each([
    ['by an operator of its own', {}],
    ['inside the attention, neighbours together', { rope: 'inside', inputs: 10, interleaved: true }],
    ['in part', { rotaryDim: 8 }],
  ] as const)('whatever rotates them: %s', async (_, options) => {
    const loaded = await tinyModel(options);
    const { interleaved = false, rotaryDim = SHAPE.headDim } = options as {
      interleaved?: boolean;
      rotaryDim?: number;
    };
    const half = rotaryDim / 2;
    const frequencies = Float64Array.from({ length: half }, (_, pair) => 10000 ** (-pair / half));
    const full = (await filled(loaded, new ElasticCache({ policy: 'full' }))).entries(1);
    const cache = await filled(
      loaded,
      new ElasticCache({ policy: 'elastic', budget: 0.3, mergedKeys: 'turned' }),
    );
    const { positions, counts, keys } = cache.entries(1);
    const width = SHAPE.kvHeads * SHAPE.headDim;
    const into = anchorsOf(full.positions.length, positions);
    positions.forEach((anchor, entry) => {
      const members = into.flatMap((target, token) => (target === anchor ? [token] : []));
      expect(members).toHaveLength(counts[entry]!);
      for (let head = 0; head < width; head += SHAPE.headDim) {
        const turned = members.map((token) => {
          const start = token * width + head;
          const turn = new KeyTurn({ frequencies, interleaved }, anchor - token);
          return turn.turned(full.keys.subarray(start, start + SHAPE.headDim));
        });
        for (let i = 0; i < SHAPE.headDim; i++) {
          const mean = turned.reduce((sum, key) => sum + key[i]!, 0) / members.length;
          expect(keys[entry * width + head + i]).toBeCloseTo(mean, 3);
        }
      }
    });
  });
});

/** The anchor of each token: the nearest, the earlier of two. */
function anchorsOf(tokens: number, anchors: Int32Array): number[] {
  return Array.from({ length: tokens }, (_, token) =>
    anchors.reduce((best, anchor) => (Math.abs(anchor - token) < Math.abs(best - token) ? anchor : best)),
  );
}
