import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import type { CachePolicy } from '../../src/cache/policy.js';
import { serializeModel } from '../../src/graph/onnx/onnx.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import { LanePool } from '../../src/memory/lane-pool.js';
import { RowBlock } from '../../src/memory/rows/row-block.js';
import type { Decoder } from '../../src/runtime/decoder.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
import { buildGqaDecoder } from '../graph/gqa-decoder.js';
import { tokenInput } from './token-input.js';

const HIDDEN = 64;
const HEADS = 4;
const PROMPT = 120;

let directory: string;
/** [formats] with a window in one layer, and rows packed for each head. */
const decoders: Record<string, Decoder> = {};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'packed-'));
  const path = join(directory, 'decoder.onnx');
  const options = { hidden: HIDDEN, kvHeads: HEADS, queryHeads: 2 * HEADS, headDim: 32, longest: 512 };
  await writeFile(path, serializeModel(buildGqaDecoder(options)));
  decoders.float32 = await openDecoder(path, { chunk: 128 });
  decoders.int8 = await openDecoder(path, { chunk: 128, kvFormat: 'int8' });
  const windowed = join(directory, 'windowed.onnx');
  await writeFile(windowed, serializeModel(buildGqaDecoder({ ...options, windows: [0, 40] })));
  decoders.windowed = await openDecoder(windowed, { chunk: 128 });
});

afterAll(async () => {
  for (const decoder of Object.values(decoders)) await decoder.release();
  await rm(directory, { recursive: true });
});

const input = (tokens: number, start: number, seed: number) => tokenInput(HIDDEN, tokens, start, seed);

/** Head h keeps 10 + 25 h entries, not the same ones in any two heads, and lets the oldest but the first go. */
const unequal: CachePolicy = {
  name: 'unequal',
  attention: 'never',
  minimum: 1,
  heads: 'unequal',
  logCountBias: 0.3,
  begin: () => ({
    compress: (layers) =>
      layers.map((views) =>
        views.map(({ tokens }, head) => {
          const all = Int32Array.from({ length: tokens }, (_, token) => token);
          const keep = all.filter((token) => (token * 7 + head * 13) % tokens < 10 + 25 * head);
          const from = all.filter((token) => !keep.includes(token));
          return { keep, from, into: from.map((token) => keep[token % keep.length]!), valuesOnly: true };
        }),
      ),
    evict: (entries, _allowed, _layer, head) => (entries.length > 10 + 25 * head ? entries.at(1) : -1),
    save: () => null,
  }),
};

async function filled(decoder: Decoder, seed = 1): Promise<KVCache> {
  const cache = new KVCache({ policy: unequal, budget: 1 });
  cache.bind({ ...decoder.shape, batch: 1 }, decoder.windows);
  await decoder.run(cache, input(PROMPT, 0, seed));
  return cache;
}

/** The same rows, as many for each head as the longest has. */
function even(cache: KVCache): KVCache {
  const fork = cache.fork();
  fork.relocate(
    fork.rows().map(({ block, held }) => {
      const laid = new RowBlock(block.shape, Math.max(...held) + 1);
      laid.copyLane(0, block, 0, held);
      return laid;
    }),
  );
  return fork;
}

function expectNear(a: Tensor, b: Tensor): void {
  expect(a.dims).toEqual(b.dims);
  const difference = (a.data as Float32Array).reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (b.data as Float32Array)[i]!)),
    0,
  );
  expect(difference).toBeLessThan(1e-4);
}

describe.each(['float32', 'int8', 'windowed'])('heads that hold different numbers of rows: %s', (kind) => {
  it('have memory for as many as they hold', async () => {
    const cache = await filled(decoders[kind]!);
    const stats = cache.stats();
    const held = [10, 35, 60, 85];
    expect(cache.rows().map((rows) => rows.held)).toEqual(stats.layers.map(() => held));
    expect(stats.tokensHeld).toBe(Math.round((10 + 35 + 60 + 85) / HEADS));
    // Room to grow: 16 rows a head, rounded up to 16.
    for (const { block } of cache.rows()) expect(block.capacity).toBeLessThanOrEqual(190 + HEADS * 32);
  });

  it('answer as if they lay evenly: tokens, later turns, forks and files', async () => {
    const decoder = decoders[kind]!;
    const cache = await filled(decoder);
    const padded = even(cache);
    for (let token = 0; token < 20; token++) {
      const next = input(1, PROMPT + token, 100 + token);
      expectNear(await decoder.run(cache, next), await decoder.run(padded, next));
    }
    expect(cache.rows()[0]!.block.layout.heads).toBe(1);
    const turn = input(30, PROMPT + 20, 7);
    expectNear(await decoder.run(cache, turn), await decoder.run(padded, turn));
    expect(cache.entries(0, 0, 2)).toEqual(padded.entries(0, 0, 2));
    const last = input(1, PROMPT + 50, 8);
    const fork = cache.fork();
    const [own, forked] = [await decoder.run(cache, last), await decoder.run(fork, last)];
    expect(forked.data).toEqual(own.data);
  });

  it('share lanes with others, each with its own answer', async () => {
    const decoder = decoders[kind]!;
    const alone = [await filled(decoder, 1), await filled(decoder, 2), await filled(decoder, 3)];
    const members = alone.map((cache) => cache.fork());
    const pool = new LanePool();
    for (const cache of members) pool.join(cache);
    const step = async (token: number) => {
      const each = pool.members.map((cache) => input(1, cache.seenBy(0), token + cache.seenBy(0)));
      const join = (name: 'newTokens' | 'positionIds') => {
        const [first] = each;
        const data = each.map((own) => own[name].data as Float32Array);
        const all =
          name === 'newTokens'
            ? Float32Array.from(data.flatMap((own) => [...own]))
            : BigInt64Array.from((data as unknown as BigInt64Array[]).flatMap((own) => [...own]));
        return new Tensor(first![name].type, all as Float32Array, first![name].dims.with(0, each.length));
      };
      const logits = await decoder.step(pool, {
        newTokens: join('newTokens'),
        positionIds: join('positionIds'),
      });
      for (const [lane, cache] of pool.members.entries()) {
        const own = alone[members.indexOf(cache)]!;
        const wanted = await decoder.run(own, each[lane]!);
        const width = logits.dims[2]!;
        const lanes = (logits.data as Float32Array).slice(lane * width, (lane + 1) * width);
        expectNear(new Tensor('float32', lanes, [1, 1, width]), wanted);
      }
    };
    for (let token = 0; token < 5; token++) await step(token);
    pool.leave(members[0]!, true);
    for (let token = 5; token < 10; token++) await step(token);
    expect(members[0]!.entries(0, 0, 3)).toEqual(alone[0]!.entries(0, 0, 3));
  });
});
