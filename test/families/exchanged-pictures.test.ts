import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { type Inputs, prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { picture } from '../picture.js';
import { followedBy } from './family-runs.js';
import { FAMILIES, writeTinyFamily } from './tiny-families.js';

const DIFFER = { code: 'prompt-mismatch', message: expect.stringMatching(/^The pictures differ from those/) };

describe.each(Object.keys(FAMILIES))('%s', (name) => {
  let directory: string;
  let loaded: LoadedModel;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'elastic-cache-exchanged-'));
    await writeTinyFamily(directory, FAMILIES[name]!);
    loaded = await loadElastic(directory, { threads: 1 });
  });

  afterAll(async () => {
    await loaded.model.dispose();
    await rm(directory, { recursive: true });
  });

  const ask = (seeds: number[], prompt: string) =>
    prepareInputs(loaded, { images: seeds.map(picture), prompt });
  const turn = async (inputs: Inputs, cache: ElasticCache) =>
    (await loaded.model.generate({
      ...inputs,
      past_key_values: cache,
      max_new_tokens: 3,
      do_sample: false,
    })) as Tensor;

  it('notices another picture under the same tokens, in each turn', async () => {
    const cache = new ElasticCache({ policy: 'elastic', budget: 0.5 });
    const [first, other] = [await ask([37], 'w2 w3'), await ask([91], 'w2 w3')];
    const one = await turn(first, cache);
    const text = await ask([], 'w4');
    await expect(turn(followedBy(other, one, text), cache)).rejects.toMatchObject(DIFFER);
    // The same, read anew; and after what was refused.
    const two = await turn(followedBy(await ask([37], 'w2 w3'), one, text), cache);

    const more = await ask([53], 'w5');
    await expect(turn(followedBy(other, two, more), cache)).rejects.toMatchObject(DIFFER);
    const three = await turn(followedBy(first, two, more), cache);

    const [both, exchanged] = [await ask([37, 53], 'w2'), await ask([37, 54], 'w2')];
    const exchangedBoth = followedBy(exchanged, three, await ask([], 'w6'));
    await expect(turn(exchangedBoth, cache)).rejects.toMatchObject(DIFFER);
    await turn(followedBy(both, three, await ask([], 'w6')), cache);
  });

  it('goes on from an empty cache with any', async () => {
    const cache = new ElasticCache({ policy: 'elastic', budget: 0.5 });
    await turn(await ask([37], 'w2'), cache);
    cache.reset();
    const one = await turn(await ask([91], 'w2'), cache);
    await expect(
      turn(followedBy(await ask([37], 'w2'), one, await ask([], 'w4')), cache),
    ).rejects.toMatchObject(DIFFER);
  });
});
