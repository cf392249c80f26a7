import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import { type CachePolicy, eachLayer, keepAll } from '../../src/cache/policy.js';
import { serializeModel } from '../../src/graph/onnx/onnx.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { createPolicy } from '../../src/policies/registry.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
import { buildGqaDecoder } from '../graph/gqa-decoder.js';
import { tokenInput } from './token-input.js';

const HIDDEN = 64;
const LONGEST = 160;
const TOKENS = 60;

let directory: string;
/** Reads 60 tokens in one part, and in three. */
let whole: Decoder;
let chunked: Decoder;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'read-again-'));
  const path = join(directory, 'decoder.onnx');
  await writeFile(
    path,
    serializeModel(buildGqaDecoder({ hidden: HIDDEN, kvHeads: 4, headDim: 32, longest: LONGEST })),
  );
  whole = await openDecoder(path, { chunk: 128 });
  chunked = await openDecoder(path, { chunk: 20 });
});

afterAll(async () => {
  await whole.release();
  await chunked.release();
  await rm(directory, { recursive: true });
});

const input = (tokens: number, start = 0, seed = tokens) => tokenInput(HIDDEN, tokens, start, seed);

/** Keeps everything, and tells what the candidates of each turn received: [turns] of [layers x heads] of [tokens]. */
function watching(options: Pick<CachePolicy, 'reread' | 'window'>) {
  const seen: Float64Array[][] = [];
  const policy: CachePolicy = {
    ...options,
    name: 'watching',
    attention: 'turn',
    peak: true,
    heads: 'each',
    minimum: 0,
    begin: () => {
      const keeping = eachLayer({ compress: ({ tokens }) => keepAll(tokens), evict: () => -1 });
      return {
        ...keeping,
        compress(layers) {
          seen.push(layers.flat().map(({ received }) => received.slice()));
          return keeping.compress(layers);
        },
      };
    },
  };
  return { policy, seen };
}

function cacheOf(decoder: Decoder, policy: CachePolicy, budget = 1): KVCache {
  const cache = new KVCache({ policy, budget });
  cache.bind({ ...decoder.shape, batch: 1 });
  return cache;
}

describe('a turn that is read once more', () => {
  it('is told what its tokens attend to behind it, and holds them once', async () => {
    const once = watching({ reread: true });
    const cache = cacheOf(whole, once.policy);
    const logits = await whole.run(cache, input(TOKENS));
    expect(cache.stats()).toMatchObject({ tokensSeen: TOKENS, tokensHeld: TOKENS });
    // By hand: the same tokens as a second turn, which looks at all of its queries.
    const byHand = watching({ window: TOKENS });
    const twice = cacheOf(whole, byHand.policy);
    const first = await whole.run(twice, input(TOKENS));
    await whole.run(twice, input(TOKENS, TOKENS, TOKENS));
    expect(logits.data).toEqual(first.data);
    const wanted = byHand.seen[1]!.map((received) => received.subarray(0, TOKENS));
    once.seen[0]!.forEach((received, list) => {
      received.forEach((value, token) => {
        expect(value).toBeCloseTo(wanted[list]![token]!, 6);
      });
    });
  });

  it('in parts is told the most of each', async () => {
    const parts = watching({ reread: true });
    await chunked.run(cacheOf(chunked, parts.policy), input(TOKENS));
    expect(parts.seen[0]![0]).toHaveLength(TOKENS);
    // A part sees the turn and no other part: what it gives, given by hand, is the least of what was told.
    const byHand = watching({ window: 20 });
    const cache = cacheOf(whole, byHand.policy);
    await whole.run(cache, input(TOKENS));
    const { newTokens, positionIds } = input(TOKENS);
    const part = new Tensor('float32', newTokens.data.slice(0, 20 * HIDDEN) as Float32Array, [1, 20, HIDDEN]);
    const behind = (positionIds.data as BigInt64Array).slice(0, 20).map((at) => at + BigInt(TOKENS));
    await whole.run(cache, {
      newTokens: part,
      positionIds: new Tensor('int64', behind, [1, 20]),
      logits: 'last',
    });
    byHand.seen[1]!.forEach((received, list) => {
      for (let token = 0; token < TOKENS; token++) {
        expect(parts.seen[0]![list]![token]!).toBeGreaterThan(received[token]! - 1e-6);
      }
    });
  });

  it('holds the budget exactly, turn after turn and while decoding', async () => {
    const policy = createPolicy('elastic-plus:reread=true');
    const cache = cacheOf(chunked, policy, 0.3);
    let seen = 0;
    const expectExact = () => {
      const held = cache.rows().flatMap((rows) => rows.held);
      const allowed = Math.max(policy.minimum, Math.floor(0.3 * seen));
      expect(held.reduce((sum, each) => sum + each)).toBe(allowed * held.length);
    };
    for (const tokens of [TOKENS, 1, 1, 30, 1]) {
      await chunked.run(cache, input(tokens, seen));
      seen += tokens;
      expectExact();
    }
  });

  it('is read where it stood where the model takes no text that goes on behind it', async () => {
    const long = LONGEST - 10;
    const cache = cacheOf(whole, createPolicy('elastic-plus:reread=true'), 0.3);
    await whole.run(cache, input(long));
    expect(cache.stats()).toMatchObject({ tokensSeen: long, tokensHeld: Math.floor(0.3 * long) });
  });

  it('leaves nothing of a turn that is let go in the midst', async () => {
    const cache = cacheOf(chunked, createPolicy('elastic-plus:reread=true'), 0.3);
    const reading = chunked.read(cache, input(TOKENS));
    // Three parts, and one of the second reading.
    for (let part = 0; part < 4; part++) await reading.next();
    await reading.return(undefined as never);
    expect(cache.stats()).toMatchObject({ tokensSeen: 0, tokensHeld: 0 });
    await chunked.run(cache, input(TOKENS));
    expect(cache.stats().tokensHeld).toBe(Math.floor(0.3 * TOKENS));
  });
});

describe('a policy that is to be read again', () => {
  it.each([{ window: 8 }, { attention: 'always' as const }])('has no other attention: %j', (also) => {
    const { policy } = watching({ reread: true });
    expect(() => new KVCache({ policy: { ...policy, ...also }, budget: 1 })).toThrow(/reread is set with/);
  });

  it('of elastic-plus has no window', () => {
    expect(() => createPolicy('elastic-plus:reread=true:window=8')).toThrow(/sets window, which/);
  });
});
