import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  ElasticCache,
  type Inputs,
  type LoadedModel,
  loadElastic,
  type PolicyName,
  policyNames,
  prepareInputs,
} from '../../src/index.js';
import { imageOf } from '../../src/models/images/read-image.js';
import { SharedPrompts } from '../../src/models/measuring/shared-prompts.js';
import { answerSurprise } from '../../src/models/measuring/teacher-forcing.js';
import { lengthened, repeated, timeGeneration } from '../../src/models/measuring/timed-generation.js';
import { ElasticSession } from '../../src/runtime/elastic-session.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';

const ANSWER = [7, 8, 9, 20, 31, 5, 6, 40];

let directory: string;
let loaded: LoadedModel;
let inputs: Inputs;
let other: Inputs;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-shared-'));
  await writeTinyLlava(directory);
  loaded = await loadElastic(directory, { chunk: 10 });
  const pixels = Uint8Array.from({ length: 16 * 16 * 3 }, (_, index) => (index * 37) % 256);
  const images = [imageOf(pixels, 16, 16)];
  inputs = await prepareInputs(loaded, { images, prompt: 'w1 w2 w3 w4 w5 w6 w7 w8 w9' });
  other = { ...(await prepareInputs(loaded, { images, prompt: 'w1 w2 w3 w4 w5 w6 w7 w9 w8' })) };
  other.pixel_values = inputs.pixel_values;
});

afterAll(async () => {
  await loaded.model.dispose();
  await rm(directory, { recursive: true });
});

const decoderOf = ({ model }: LoadedModel) =>
  Object.values<unknown>(model.sessions).find((session) => session instanceof ElasticSession)!.decoder;

const surprise = (of: Inputs, policy: PolicyName) =>
  answerSurprise(loaded, of, ANSWER, new ElasticCache({ policy, budget: 0.4 }));

describe('prompts that are shared', () => {
  it.each(policyNames)('are, to the last bit, those of runs of their own: %s', async (policy) => {
    const own = await surprise(inputs, policy);
    const shared = new SharedPrompts(loaded);
    for (const name of ['full', policy, policy, 'snapkv', 'elastic-plus', 'elastic', policy] as const) {
      const given = await shared.during(() => surprise(inputs, name));
      if (name === policy) expect(given).toEqual(own);
    }
  });

  it('are run once, part by part', async () => {
    const decoder = decoderOf(loaded);
    const run = vi.spyOn(decoder['session'], 'run');
    const parts = async (names: readonly PolicyName[]) => {
      run.mockClear();
      const shared = new SharedPrompts(loaded);
      for (const name of names) await shared.during(() => surprise(inputs, name));
      return run.mock.calls.length - names.length * (ANSWER.length - 1);
    };
    const all = Math.ceil(inputs.input_ids.dims[1]! / 10);
    expect(await parts(['full', 'local', 'full'])).toBe(all);
    expect(await parts(['full', 'h2o', 'elastic', 'local'])).toBe(2 * all);
    // The last 8 queries are in the last part, which alone is run again for their attention.
    expect(await parts(['full', 'pyramidkv', 'local', 'pyramidkv'])).toBe(all + 1);
    run.mockRestore();
  });

  it('are let go for another prompt with the same image, and the image is encoded once', async () => {
    const expected = [await surprise(inputs, 'elastic'), await surprise(other, 'elastic')];
    expect(expected[0]).not.toEqual(expected[1]);
    const encode = vi.spyOn(loaded.model.sessions.vision_encoder, 'run');
    const shared = new SharedPrompts(loaded);
    for (const [index, of] of [inputs, other, inputs].entries()) {
      expect(await shared.during(() => surprise(of, 'elastic'))).toEqual(expected[index % 2]);
    }
    expect(encode).toHaveBeenCalledTimes(1);
    await surprise(inputs, 'elastic');
    expect(encode).toHaveBeenCalledTimes(2);
    encode.mockRestore();
  });
});

describe('what is timed', () => {
  it('has the length and the rows that were asked for', async () => {
    const long = repeated(lengthened(loaded, inputs, 57), 3);
    expect(long.input_ids.dims).toEqual([3, 57]);
    const [row] = long.input_ids.tolist() as bigint[][];
    const own = inputs.input_ids.tolist()[0] as bigint[];
    expect(row!.slice(-9)).toEqual(own.slice(-9));
    expect(row!.filter((id) => id === 3n)).toHaveLength(own.filter((id) => id === 3n).length);
    const cache = new ElasticCache({ policy: 'local', budget: 0.5 });
    const timing = await timeGeneration(loaded, long, 6, cache);
    expect(timing.prefillMs).toBeGreaterThan(0);
    expect(timing.msPerStep).toBeGreaterThan(0);
    expect(cache.seen).toBe(57 + 5);
    expect(cache.batch).toBe(3);
    expect(() => lengthened(loaded, inputs, 5)).toThrow(/shorter than the question with its image/);
  });
});
