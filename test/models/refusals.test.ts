import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamicCache, Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  answer,
  chat,
  convertCheckpoint,
  ElasticCache,
  type LoadedModel,
  loadElastic,
  prepareInputs,
} from '../../src/index.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
import { picture } from '../picture.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';

let directory: string;
let loaded: LoadedModel;
let inputs: Awaited<ReturnType<typeof prepareInputs>>;
const newCache = () => new ElasticCache({ budget: 1 });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-refusals-'));
  await writeTinyLlava(directory);
  loaded = await loadElastic(directory, { threads: 1 });
  inputs = await prepareInputs(loaded, { images: [picture(1)], prompt: 'w1 w2' });
});
afterAll(async () => {
  await loaded.model.dispose();
  await rm(directory, { recursive: true });
});

/** What a call rejects with, which prints nothing. */
async function refusal(call: () => unknown): Promise<{ code: string; message: string }> {
  const printed = [vi.spyOn(console, 'error'), vi.spyOn(console, 'warn')];
  try {
    await (async () => call())();
  } catch (error) {
    for (const spy of printed) expect(spy).not.toHaveBeenCalled();
    return error as { code: string; message: string };
  } finally {
    for (const spy of printed) spy.mockRestore();
  }
  throw new Error('it was not refused');
}

const ids = (...tokens: number[]) => new Tensor('int64', tokens.map(BigInt), [1, tokens.length]);
const pixels = (type: 'float32' | 'int64', side: number) =>
  new Tensor(
    type,
    type === 'int64' ? new BigInt64Array(3 * side * side) : new Float32Array(3 * side * side),
    [...[1, 3, side, side]],
  );

describe('generate() refuses', () => {
  it.each<[change: Record<string, unknown>, code: string, RegExp]>([
    [{ max_new_token: 5 }, 'invalid-option', /no option "max_new_token"\. Did you mean "max_new_tokens"\?$/],
    [{ past_key_value: 1 }, 'invalid-option', /Did you mean "past_key_values"\?$/],
    [
      { generation_config: { max_new_token: 5 } },
      'invalid-option',
      /^generation_config .*"max_new_tokens"\?$/,
    ],
    [{ images: [picture(1)] }, 'invalid-option', /no option "images"; it takes input_ids, /],
    [{ pixel_value: pixels('float32', 8) }, 'invalid-option', /Did you mean "pixel_values"\?$/],
    [{ num_beams: 3 }, 'invalid-option', /^num_beams is 3, and transformers\.js knows no beams/],
    [{ max_new_tokens: Number.NaN }, 'invalid-option', /^max_new_tokens is NaN; it must be a whole number/],
    [{ max_new_tokens: 0 }, 'invalid-option', /^max_new_tokens is 0/],
    [{ do_sample: 'yes' }, 'invalid-option', /^do_sample is a string; it must be true or false\.$/],
    [
      { streamer: {} },
      'invalid-option',
      /^streamer is an object; it must be a streamer, with put\(\) and end\(\)/,
    ],
    [{ logits_processor: 5 }, 'invalid-option', /^logits_processor is a number; it must be a list\.$/],
    [{ stopping_criteria: 5 }, 'invalid-option', /^stopping_criteria is a number; it must be a criterion/],
    [{ signal: {} }, 'invalid-option', /^signal is an object; it must be an AbortSignal\.$/],
    [{ stop_strings: 5 }, 'invalid-option', /^a stop string is empty or no text/],
    [{ past_key_values: {} }, 'invalid-option', /^past_key_values is no cache of this library/],
    [{ past_key_values: ElasticCache }, 'invalid-option', /^past_key_values is no cache/],
    [
      { pixel_values: null },
      'invalid-prompt',
      /^The prompt has 16 image tokens and comes without pixel_values/,
    ],
    [
      { pixel_values: pixels('float32', 10) },
      'invalid-model',
      /^vision_encoder cannot run what was prepared/,
    ],
    [{ pixel_values: pixels('int64', 8) }, 'invalid-model', /^vision_encoder cannot run what was prepared/],
    [{ input_ids: ids(5, 99999) }, 'invalid-prompt', /^embed_tokens cannot run these tokens/],
    [{ input_ids: [[5, 9]] }, 'invalid-prompt', /^input_ids is a list, and no tensor of int64/],
    [{ input_ids: null }, 'invalid-prompt', /^there are no input_ids/],
    [{ attention_mask: ids(1) }, 'invalid-prompt', /^attention_mask is a tensor of int64 \[1, 1\]/],
  ])('wrong options in a sentence, %#: %s', async (change, code, message) => {
    const { attention_mask, ...rest } = inputs;
    const given = 'input_ids' in change ? change : { ...rest, attention_mask, ...change };
    const refused = await refusal(() => loaded.model.generate({ max_new_tokens: 2, ...given }));
    expect(refused).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('and takes what processors make under names of their own, an empty cache of transformers.js, and null', async () => {
    const more = { rows: [[1]], my_extra: ids(1), past_key_values: new DynamicCache(), unset: undefined };
    const output = await loaded.model.generate({ ...inputs, ...more, max_new_tokens: 1 });
    expect((output as Tensor).dims).toEqual([1, inputs.input_ids.dims[1]! + 1]);
  });
});

describe('what is no question, no cache and no model', () => {
  const wrong = (value: unknown) => value as never;
  it.each<[string, () => unknown, RegExp]>([
    ['a prompt', () => answer(loaded, wrong({}), { cache: newCache() }), /^prompt is undefined; give a text/],
    [
      'images',
      () => answer(loaded, wrong({ prompt: 'w1', images: picture(1) }), { cache: newCache() }),
      /^images is an object of class _?RawImage; give a list, also of one image/,
    ],
    ['a cache', () => answer(loaded, { prompt: 'w1' }, wrong({})), /^cache is undefined; give one/],
    ['a model', () => chat(wrong(undefined), { cache: newCache() }), /^the model is undefined; give what/],
    ['a system', () => chat(loaded, { cache: newCache(), system: wrong(5) }), /^system is 5; give a text/],
    ['options', () => chat(loaded, wrong(undefined)), /^chat takes its options as an object/],
    ['a directory', () => loadElastic(wrong(undefined)), /^the model is undefined; give its directory/],
    ['a target', () => convertCheckpoint(wrong({ from: 'x', dtype: 'q4' })), /^to is undefined/],
    ['a dtype', () => convertCheckpoint(wrong({ dtypes: 'q4' })), /Did you mean "dtype"\?$/],
    ['saved bytes', () => ElasticCache.load(wrong(undefined)), /^a saved cache is read from its bytes/],
  ])('%s is refused', async (_, call, message) => {
    expect((await refusal(call)).message).toMatch(message);
  });

  it('a later turn refuses what a first one does', async () => {
    const cache = newCache();
    await answer(loaded, { prompt: 'w1' }, { cache, maxNewTokens: 1 });
    const typo = { prompt: 'w1', image: [] } as never;
    expect((await refusal(() => answer(loaded, typo, { cache }))).message).toMatch(
      /Did you mean "images"\?$/,
    );
  });
});

it('a decoder that is a directory is no file', async () => {
  const path = join(directory, 'decoder.onnx');
  await mkdir(path);
  expect(await refusal(() => openDecoder(path))).toMatchObject({
    code: 'missing-file',
    message: `${path} is a directory; give the path of an .onnx file.`,
  });
});

it('a model is disposed of as often as one likes, and then runs no more', async () => {
  const other = await loadElastic(directory, { threads: 1 });
  await Promise.all([other.model.dispose(), other.model.dispose()]);
  await other.model.dispose();
  expect(await refusal(() => answer(other, { prompt: 'w1' }, { cache: newCache() }))).toMatchObject({
    code: 'invalid-model',
    message: expect.stringMatching(/^This model has been disposed of/),
  });
});
