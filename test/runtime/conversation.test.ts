import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cat, type DynamicCache, Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { answer } from '../../src/models/conversation/answer.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { picture } from '../picture.js';
import { writeTinyLlava } from './tiny-llava.js';

type Inputs = Record<'input_ids' | 'attention_mask' | 'pixel_values', Tensor>;

let directory: string;
let elastic: LoadedModel;
let first: Inputs;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tiny-llava-'));
  await writeTinyLlava(directory);
  elastic = await loadElastic(directory);
  first = await elastic.processor!(picture(37), '<s> <image> w2 w3 w44 w5 w6 w17');
});

afterAll(async () => {
  await elastic.model.dispose();
  await rm(directory, { recursive: true });
});

/** The conversation so far and the words that come next, as inputs with the image. */
function followedBy(output: Tensor, words: string): Inputs {
  const next = elastic.tokenizer(words, { add_special_tokens: false }).input_ids as Tensor;
  const input_ids = cat([output, next], 1);
  const attention_mask = new Tensor('int64', new BigInt64Array(input_ids.size).fill(1n), input_ids.dims);
  return { input_ids, attention_mask, pixel_values: first.pixel_values };
}

async function generate(inputs: object, past_key_values?: ElasticCache | DynamicCache): Promise<Tensor> {
  const options = past_key_values ? { ...inputs, past_key_values } : inputs;
  return (await elastic.model.generate({ ...options, max_new_tokens: 12 })) as Tensor;
}

describe('a conversation on one cache', () => {
  it('equals one long prompt at budget 1, and runs neither old tokens nor the image again', async () => {
    const vision = vi.spyOn(elastic.model.sessions.vision_encoder, 'run');
    const embed = vi.spyOn(elastic.model.sessions.embed_tokens, 'run');
    const cache = new ElasticCache({ budget: 1 });
    const one = await generate(first, cache);
    expect(vision).toHaveBeenCalledTimes(1);
    embed.mockClear();
    const second = followedBy(one, 'w7 w8 w9');
    const two = await generate(second, cache);
    expect(vision).toHaveBeenCalledTimes(1);
    expect(embed.mock.calls[0]?.[0]).toMatchObject({ input_ids: { dims: [1, 4] } });
    vision.mockRestore();
    embed.mockRestore();
    expect(two.tolist()).toEqual((await generate(second)).tolist());
    const third = followedBy(two, 'w10');
    expect((await generate(third, cache)).tolist()).toEqual((await generate(third)).tolist());
    expect(cache.seen).toBe(third.input_ids.dims[1]! + 11);
  });

  it('holds the budget over all turns', async () => {
    const cache = new ElasticCache({ budget: 0.25 });
    const one = await generate(first, cache);
    await generate(followedBy(one, 'w7 w8 w9 w10 w11 w12'), cache);
    expect(cache.stats().tokensHeld).toBe(Math.floor(0.25 * cache.seen));
  });

  it('goes on from the cache that generate() returned', async () => {
    const turn = (await elastic.model.generate({
      ...first,
      max_new_tokens: 12,
      return_dict_in_generate: true,
    })) as unknown as { sequences: Tensor; past_key_values: DynamicCache };
    const second = followedBy(turn.sequences, 'w7 w8');
    const output = await generate(second, turn.past_key_values);
    expect(output.tolist()).toEqual((await generate(second)).tolist());
  });

  it.each(['full', 'snapkv', 'h2o', 'elastic-plus', 'elastic-novelty'] as const)(
    'goes on from a fork and from a file, in the model loaded again: %s',
    async (policy) => {
      const [cache, alone] = [0, 1].map(() => new ElasticCache({ policy, budget: 0.4 }));
      const one = await generate(first, cache);
      const fork = cache!.fork();
      const bytes = cache!.save();
      const question = followedBy(one, 'w7 w8 w9');
      await generate(followedBy(one, 'w21 w4'), fork);
      const answer = await generate(question, cache);
      await generate(first, alone);
      expect(answer.tolist()).toEqual((await generate(question, alone)).tolist());
      const twin = await loadElastic(directory);
      const past_key_values = ElasticCache.load(bytes);
      const resumed = await twin.model.generate({ ...question, past_key_values, max_new_tokens: 12 });
      expect((resumed as Tensor).tolist()).toEqual(answer.tolist());
      await twin.model.dispose();
    },
  );

  it('takes the new tokens alone when the mask covers everything', async () => {
    const cache = new ElasticCache({ budget: 1 });
    const one = await generate(first, cache);
    const second = followedBy(one, 'w7 w8');
    const input_ids = second.input_ids.slice(null, [cache.seen, second.input_ids.dims[1]!]);
    const output = await generate({ ...second, input_ids }, cache);
    const whole = (await generate(second)).tolist()[0];
    expect(output.tolist()[0]).toEqual(whole.slice(cache.seen - 11 - 3));
  });

  it('begins again after reset()', async () => {
    const cache = new ElasticCache({ budget: 0.5 });
    const one = await generate(first, cache);
    cache.reset();
    expect((await generate(first, cache)).tolist()).toEqual(one.tolist());
  });
});

describe('what does not go on from the cache is refused', () => {
  it('a prompt no longer than what was seen', async () => {
    const cache = new ElasticCache();
    await generate(first, cache);
    await expect(generate(first, cache)).rejects.toThrow(
      'The prompt has 23 tokens, but the cache has seen 34 already; pass the whole conversation, or reset() the cache to begin another.',
    );
  });

  it('a conversation with other tokens', async () => {
    const cache = new ElasticCache();
    const other = followedBy(await generate(first, cache), 'w7');
    other.input_ids.data[2] = 7n;
    await expect(generate(other, cache)).rejects.toThrow(
      'The prompt differs from what the cache has seen at token 2; go on from the tokens that generate() returned, or reset() the cache.',
    );
  });

  it('a mask that fits neither the new tokens nor all of them', async () => {
    const cache = new ElasticCache();
    const second = followedBy(await generate(first, cache), 'w7 w8');
    const input_ids = second.input_ids.slice(null, [36, 37]);
    await expect(generate({ ...second, input_ids }, cache)).rejects.toThrow(
      'attention_mask covers 37 tokens, but the cache has seen 34 and 1 are new; pass the whole conversation.',
    );
  });

  it('a cache of another model', async () => {
    const cache = new ElasticCache();
    const second = followedBy(await generate(first, cache), 'w7 w8');
    const beside = await mkdtemp(join(tmpdir(), 'tiny-llava-'));
    await writeTinyLlava(beside, { seed: 2 });
    const other = await loadElastic(beside);
    const message = 'this cache holds tokens of another model; reset() it or use a new one.';
    const refusal = { code: 'model-mismatch', message };
    const saved = ElasticCache.load(cache.save());
    // Whatever it is asked: that its prompt does not go on is no news.
    for (const each of [second, first]) {
      await expect(other.model.generate({ ...each, past_key_values: saved })).rejects.toMatchObject(refusal);
      await expect(other.model.generate({ ...each, past_key_values: cache })).rejects.toMatchObject(refusal);
    }
    await expect(answer(other, { prompt: 'w7' }, { cache: saved })).rejects.toMatchObject(refusal);
    await other.model.dispose();
    await rm(beside, { recursive: true });
  });

  it('a cache made for another shape', async () => {
    const cache = new ElasticCache({ layers: 3, kvHeads: 2, headDim: 16 });
    await expect(generate(first, cache)).rejects.toThrow(/made for 3 layers, the model has 2/);
  });

  it('a batch of another size', async () => {
    const cache = new ElasticCache();
    const second = followedBy(await generate(first, cache), 'w7 w8');
    const twice = Object.fromEntries(
      Object.entries(second).map(([name, value]) => [name, cat([value, value], 0)]),
    );
    await expect(generate(twice, cache)).rejects.toThrow(/holds a batch of 1, not 2/);
  });
});
