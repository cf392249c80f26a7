import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { InferenceSession } from '#platform/ort.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { type LoadOptions, loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { picture } from '../picture.js';
import { writeTinyLlava } from './tiny-llava.js';

let root: string;
let directory: string;
let expected: number[];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'load-'));
});
afterAll(async () => {
  await rm(root, { recursive: true });
});
beforeEach(async () => {
  directory = await mkdtemp(join(root, 'model-'));
  await writeTinyLlava(directory);
});

async function answer({ model, processor }: LoadedModel): Promise<number[]> {
  const inputs = await processor!(picture(37), '<s> <image> w2 w3 w44');
  const past_key_values = new ElasticCache();
  const output = (await model.generate({ ...inputs, max_new_tokens: 8, past_key_values })) as Tensor;
  await model.dispose();
  return output.tolist()[0].map(Number);
}

/** The one sentence that loading fails with. */
async function refusal(id: string, options: LoadOptions = {}): Promise<string> {
  const error = await loadElastic(id, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: 'ElasticCacheError' });
  return (error as Error).message.replaceAll(root, '').replaceAll(/model-\w+/g, 'model');
}

describe('a directory', () => {
  it('is left as it was: nothing is written, and it may be read-only', async () => {
    const before = await readdir(join(directory, 'onnx'));
    await chmod(join(directory, 'onnx'), 0o555);
    expected = await answer(await loadElastic(directory));
    expect(expected).toHaveLength(5 + 15 + 8);
    expect(await readdir(join(directory, 'onnx'))).toEqual(before);
  });

  it('may be links into a store of blobs, weights beside the graph included', async () => {
    const blobs = join(directory, 'blobs', 'ab');
    await mkdir(blobs, { recursive: true });
    for (const file of await readdir(join(directory, 'onnx'))) {
      const blob = join(blobs, `${file.length}-${file.replaceAll('.', '')}`);
      await rename(join(directory, 'onnx', file), blob);
      await symlink(blob, join(directory, 'onnx', file));
    }
    expect(await answer(await loadElastic(directory))).toEqual(expected);
  });

  it('may keep its weights in files beside the graphs', async () => {
    await writeTinyLlava(directory, { weightsBeside: true });
    expect(await answer(await loadElastic(directory))).toEqual(expected);
    const data = join(directory, 'onnx', 'decoder_model_merged.onnx_data');
    await truncate(data, 5000);
    expect(await refusal(directory)).toMatch(
      /^\/model\/onnx\/decoder_model_merged.onnx_data has 5000 bytes, but the model's weights reach to byte \d+: the file is incomplete; fetch it again.$/,
    );
    await rm(data);
    expect(await refusal(directory)).toMatch(
      /^\/model has no onnx\/decoder_model_merged.onnx_data; fetch or convert it again.$/,
    );
  });

  it('is opened in the dtype asked for, for each session if need be', async () => {
    await writeTinyLlava(directory, { suffix: '_q4', seed: 9 });
    const other = await answer(await loadElastic(directory, { dtype: 'q4' }));
    expect(other).not.toEqual(expected);
    expect(await answer(await loadElastic(directory, { dtype: { decoder_model_merged: 'q4' } }))).toEqual(
      other,
    );
    expect(await answer(await loadElastic(directory))).toEqual(expected);
  });

  it('may name its dtypes in the config', async () => {
    await writeTinyLlava(directory, { suffix: '_q4', seed: 9 });
    const config = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8'));
    const other = await answer(await loadElastic(directory, { dtype: 'q4' }));
    config['transformers.js_config'] = { dtype: 'q4' };
    await writeFile(join(directory, 'config.json'), JSON.stringify(config));
    expect(await answer(await loadElastic(directory))).toEqual(other);
  });
});

describe('what cannot be loaded is refused in one sentence', () => {
  it('a path where there is nothing', async () => {
    expect(await refusal('./no/such/model')).toBe(
      '"./no/such/model" is neither a directory nor a model id of the form owner/name; check the path.',
    );
  });

  it('a directory without a model', async () => {
    await rm(join(directory, 'config.json'));
    expect(await refusal(directory)).toBe(
      '/model holds no config.json, so it is not a model directory; give the directory that config.json and onnx/ lie in.',
    );
  });

  it('a config that is not JSON', async () => {
    await writeFile(join(directory, 'config.json'), '{');
    expect(await refusal(directory)).toMatch(
      /^config.json of \/model cannot be read; it is not a valid config.json/,
    );
  });

  it('a dtype that is not there', async () => {
    expect(await refusal(directory, { dtype: 'q4' })).toBe(
      '/model has no onnx/embed_tokens_q4.onnx; set dtype to one it has: fp32.',
    );
  });

  it('a dtype or a session that does not exist', async () => {
    expect(await refusal(directory, { dtype: 'int3' as 'int8' })).toMatch(
      /^dtype "int3" does not exist; use one of: fp32, /,
    );
    expect(await refusal(directory, { dtype: { decoder: 'q4' } })).toBe(
      'dtype names "decoder", which this model does not have; its sessions are: embed_tokens, decoder_model_merged, vision_encoder.',
    );
  });

  it('a missing session', async () => {
    await rm(join(directory, 'onnx', 'vision_encoder.onnx'));
    expect(await refusal(directory)).toBe(
      '/model has no onnx/vision_encoder.onnx; fetch or convert it again.',
    );
  });

  it('a model type that transformers.js does not know', async () => {
    const config = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8'));
    await writeFile(join(directory, 'config.json'), JSON.stringify({ ...config, model_type: 'bert' }));
    expect(await refusal(directory)).toMatch(
      /^\/model is of type "bert", which transformers.js does not run as a decoder over text, or over images and text; the types it does are: llava, .*, phi3_v, and for text alone bloom, /,
    );
  });

  it('a decoder that is cut off', async () => {
    await truncate(join(directory, 'onnx', 'decoder_model_merged.onnx'), 50_000);
    expect(await refusal(directory)).toMatch(
      /^\/model\/onnx\/decoder_model_merged.onnx: .*damaged at byte 17: .* past the end at byte 50000/,
    );
  });

  it('another session that is cut off, or a missing processor', async () => {
    await truncate(join(directory, 'onnx', 'vision_encoder.onnx'), 5_000);
    expect(await refusal(directory)).toMatch(
      /^vision_encoder of \/model cannot be opened; fetch or convert it again/,
    );
    await rm(join(directory, 'preprocessor_config.json'));
    expect(await refusal(directory)).toMatch(
      /^The processor of \/model cannot be loaded; .*preprocessor_config.json/,
    );
  });

  it('another session that is damaged, with those that are open released', async () => {
    await truncate(join(directory, 'onnx', 'vision_encoder.onnx'), 5_000);
    const opened = vi.spyOn(InferenceSession, 'create');
    await refusal(directory);
    const sessions = await Promise.all(
      opened.mock.results.map(({ value }) => (value as Promise<InferenceSession>).catch(() => undefined)),
    );
    const open = sessions.filter((session) => session !== undefined);
    vi.restoreAllMocks();
    expect(open).toHaveLength(2);
    for (const session of open) await expect(session.release()).rejects.toThrow(/disposed/);
  });

  it('a decoder whose attention is of no known kind, with the node', async () => {
    await writeTinyLlava(directory, { extraAttributes: { causal: 0 } });
    expect(await refusal(directory)).toMatch(
      /^\/model\/onnx\/decoder_model_merged.onnx: .*\/model\/layers.0\/attn\/GroupQueryAttention/,
    );
  });

  // Of these ONNX Runtime is built with one on Linux and Windows, and its libraries come apart.
  it.each(['auto', 'tensorrt'])('a device that is not there: %s', async (device) => {
    expect(await refusal(directory, { device })).toMatch(
      /^Device "(auto|tensorrt)" is not one that a decoder runs on here; use one of: cpu, /,
    );
  });

  it('an accuracy level that there is none of', async () => {
    expect(await refusal(directory, { accuracyLevel: 5 as 4 })).toMatch(
      /^accuracyLevel is 5; it must be 1 \(float32\)/,
    );
  });

  it('threads and chunks that are no whole numbers', async () => {
    expect(await refusal(directory, { threads: 0 })).toMatch(
      /^threads must be a whole number from 1, but is 0/,
    );
    expect(await refusal(directory, { chunk: 0.5 })).toMatch(
      /^chunk must be a whole number of tokens from 1, but is 0.5/,
    );
  });
});
