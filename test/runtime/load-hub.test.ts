import { copyFile, mkdir, mkdtemp, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { env, type ProgressInfo, type Tensor } from '@huggingface/transformers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type LoadOptions, loadElastic } from '../../src/models/load.js';
import { lookAt } from '../../src/platform/hub-file.js';
import { partPath } from '../../src/platform/node/download.js';
import { modelSource } from '../../src/platform/node/model-source.js';
import { fetchWeights } from '../../src/platform/node/weights.js';
import { picture } from '../picture.js';
import { HubServer } from './hub-server.js';
import { writeTinyLlava } from './tiny-llava.js';

const DECODER = 'onnx/decoder_model_merged.onnx';
const DATA = `${DECODER}_data`;

let root: string;
let directory: string;
let cache_dir: string;
let hub: HubServer;
let expected: number[];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'hub-'));
  directory = join(root, 'model');
  await writeTinyLlava(directory);
  expected = await tokensOf(directory, {});
});
afterAll(async () => {
  await rm(root, { recursive: true });
});
beforeEach(async () => {
  cache_dir = await mkdtemp(join(root, 'cache-'));
  hub = await HubServer.open(directory, ['main', 'v2']);
});
afterEach(async () => {
  await hub.close();
});

/** Serves another directory. */
async function serve(other: string): Promise<void> {
  await hub.close();
  hub = await HubServer.open(other);
}

/** The model with its weights in files beside the graphs. */
async function modelBeside(): Promise<string> {
  const beside = await mkdtemp(join(root, 'beside-'));
  await writeTinyLlava(beside, { weightsBeside: true });
  return beside;
}

async function tokensOf(id: string, options: LoadOptions): Promise<number[]> {
  const { model, processor } = await loadElastic(id, { threads: 1, ...options });
  const inputs = await processor!(picture(37), '<s> <image> w2 w3 w44');
  const output = (await model.generate({ ...inputs, max_new_tokens: 8 })) as Tensor;
  await model.dispose();
  return output.tolist()[0].map(Number);
}

const load = (options: LoadOptions = {}) => tokensOf('tiny/llava', { cache_dir, ...options });
const cached = (file: string) => join(cache_dir, 'tiny/llava', file);
const filesIn = (folder: string) => readdir(cached(folder)).catch((): string[] => []);

/** The one sentence that loading fails with, and its code. */
async function refusal(task: Promise<unknown>): Promise<string> {
  const error = await task.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: 'ElasticCacheError' });
  const { code, message } = error as Error & { code: string };
  return `${code}: ${message.replaceAll(root, '').replaceAll(/cache-\w+/g, 'cache')}`;
}

describe('a download that breaks off', () => {
  it('is reported, is never taken for whole, and goes on from where it was', async () => {
    hub.trouble[DECODER] = { breaksAfter: 50_000 };
    expect(await refusal(load())).toMatch(
      /^download-failed: The download of onnx\/decoder_model_merged.onnx of tiny\/llava broke off after 50.0 kB of \d+.\d kB \(.+\); load again to go on from there.$/,
    );
    const left = (await filesIn('onnx')).filter((file) => file.startsWith(basename(DECODER)));
    expect(left).toEqual([expect.stringMatching(/^decoder_model_merged.onnx.[0-9a-f]{16}.part$/)]);
    delete hub.trouble[DECODER];
    expect(await load()).toEqual(expected);
    expect(hub.fetched(DECODER)).toEqual([undefined, 'bytes=50000-']);
    expect((await filesIn('onnx')).filter((file) => file.endsWith('.part'))).toEqual([]);
  });

  it('begins again when the file is another by then', async () => {
    const target = cached(DECODER);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(partPath(target, { etag: '"another"', size: 9 }), 'what it was');
    expect(await load()).toEqual(expected);
    expect(hub.fetched(DECODER)).toEqual([undefined]);
  });

  it('is noticed where the server does not say how much there is', async () => {
    hub.trouble[DECODER] = { endsAfter: 50_000 };
    expect(await refusal(load())).toMatch(
      /^download-failed: onnx\/decoder_model_merged.onnx of tiny\/llava came incomplete or damaged and was removed; load again to fetch it/,
    );
    delete hub.trouble[DECODER];
    expect(await load()).toEqual(expected);
  });

  it('of weights in a file of their own is noticed too, and what is left is removed', async () => {
    await serve(await modelBeside());
    hub.trouble[DATA] = { endsAfter: 9_000 };
    const damaged =
      /^download-failed: onnx\/decoder_model_merged.onnx and onnx\/decoder_model_merged.onnx_data of tiny\/llava came incomplete or damaged and were removed; load again to fetch them \(.* has 9000 bytes/;
    expect(await refusal(load())).toMatch(damaged);
    expect((await filesIn('onnx')).filter((file) => file.startsWith(basename(DECODER)))).toEqual([]);
    delete hub.trouble[DATA];
    expect(await load()).toEqual(expected);
  });

  it('of such weights long ago, beside a graph that is missing, is noticed too', async () => {
    await serve(await modelBeside());
    expect(await load()).toEqual(expected);
    await truncate(cached(DATA), 3_000);
    await rm(cached(DECODER));
    expect(await refusal(load())).toMatch(
      /^download-failed: .*onnx_data of tiny\/llava came .* and were removed/,
    );
    expect(await load()).toEqual(expected);
    expect(hub.fetched(DATA)).toEqual([undefined, undefined]);
  });

  it('that left half a file in the cache long ago is fetched again, and offline reported', async () => {
    expect(await load()).toEqual(expected);
    for (const file of [DECODER, 'onnx/vision_encoder.onnx']) {
      await truncate(cached(file), 3_000);
      expect(await refusal(load({ local_files_only: true }))).toMatch(
        /^invalid-model: .*(damaged|cannot be opened)/,
      );
      expect(await load()).toEqual(expected);
      expect(hub.fetched(file)).toEqual([undefined, undefined]);
    }
  });

  it('by a full disk is reported, and the rest is not waited for', async () => {
    hub.trouble[DECODER] = { stallsAfter: 50_000 };
    const target = cached(DECODER);
    await mkdir(dirname(target), { recursive: true });
    const remote = (await lookAt(modelSource('tiny/llava', {}), DECODER))!;
    await symlink('/dev/full', partPath(target, remote));
    expect(await refusal(load())).toBe(
      'out-of-space: The disk of /cache/tiny/llava/onnx is full before decoder_model_merged.onnx is fetched; free some space or set cache_dir to another disk, and load again to go on.',
    );
    await expect.poll(() => hub.dropped).toEqual([DECODER]);
  });
});

describe('what cannot be fetched is refused in one sentence', () => {
  it.each([401, 403])('a gated model, status %i', async (status) => {
    hub.trouble['*'] = { status, code: 'GatedRepo' };
    expect(await refusal(load())).toBe(
      `download-failed: tiny/llava is gated, private or does not exist (status ${status} for config.json); check the id, accept its terms on its page, and set HF_TOKEN to an access token.`,
    );
  });

  it('a model that does not exist', async () => {
    expect(await refusal(tokensOf('tiny/other', { cache_dir }))).toMatch(
      /^download-failed: tiny\/other is gated, private or does not exist \(status 401/,
    );
  });

  it('a revision that does not exist', async () => {
    expect(await refusal(load({ revision: 'v3' }))).toBe(
      'missing-file: tiny/llava has no revision "v3"; give a branch, tag or commit that its page lists.',
    );
  });

  it('weights behind a server that fails', async () => {
    hub.trouble[DECODER] = { status: 503 };
    expect(await refusal(load())).toBe(
      'download-failed: onnx/decoder_model_merged.onnx of tiny/llava cannot be fetched (status 503); try again later.',
    );
  });

  it('a server that is not there', async () => {
    env.remoteHost = 'http://127.0.0.1:9/';
    expect(await refusal(load())).toMatch(
      /^download-failed: config.json of tiny\/llava cannot be fetched from 127.0.0.1:9 \(.+\); check the connection.$/,
    );
  });

  it('where the cache folder cannot be written to', async () => {
    const file = join(root, 'a-file');
    await writeFile(file, '');
    expect(await refusal(load({ cache_dir: join(file, 'cache') }))).toMatch(
      /^download-failed: \w+.onnx cannot be kept in \/a-file\/cache\/tiny\/llava\/onnx \(ENOTDIR.*\); set cache_dir to a folder that can be written to.$/,
    );
  });

  it('weights in a file that the config does not tell of, without fetching the rest again', async () => {
    const untold = await modelBeside();
    await copyFile(join(directory, 'config.json'), join(untold, 'config.json'));
    await serve(untold);
    for (let times = 0; times < 2; times++) {
      expect(await refusal(load())).toMatch(
        /^missing-file: .*decoder_model_merged.onnx_data, which holds weights of the model, is missing/,
      );
    }
    expect(hub.fetched(DECODER)).toEqual([undefined]);
  });

  it('a model without one of its files', async () => {
    hub.trouble['onnx/vision_encoder.onnx'] = { status: 404, code: 'EntryNotFound' };
    expect(await refusal(load())).toBe(
      'missing-file: tiny/llava has no onnx/vision_encoder.onnx; fetch or convert it again.',
    );
  });
});

describe('what is too large is refused before it is fetched or opened', () => {
  const large =
    /^out-of-memory: .* has 4.4 TB of weights and .* of memory are left; close other programs, or set dtype to a smaller one \(it has: fp32\).$/;

  it('for the memory, on the Hub', async () => {
    hub.trouble[DECODER] = { claims: 2 ** 42 };
    expect(await refusal(load())).toMatch(large);
    expect(await filesIn('onnx')).toEqual([]);
  });

  it('for the memory, in a directory', async () => {
    const copy = join(root, 'large');
    await writeTinyLlava(copy, { weightsBeside: true });
    await truncate(join(copy, 'onnx/decoder_model_merged.onnx_data'), 2 ** 42);
    expect(await refusal(loadElastic(copy))).toMatch(large);
  });

  it('for the disk', async () => {
    const source = modelSource('tiny/llava', { cache_dir });
    const weights = { file: DECODER, size: 1e18, remote: { size: 1e18, etag: '"x"' } };
    expect(await refusal(fetchWeights(source, [weights]))).toMatch(
      /^out-of-space: tiny\/llava needs 1000000.0 TB more on the disk of \/cache, where .* are free; free some space, set cache_dir to another disk, or choose a smaller dtype.$/,
    );
  });
});

describe('options as in transformers.js', () => {
  it('cache_dir, revision, local_files_only: fetched once, found again without the network', async () => {
    expect(await load({ revision: 'v2' })).toEqual(expected);
    expect(await readdir(join(cache_dir, 'tiny/llava/v2/onnx'))).toHaveLength(3);
    hub.asked.length = 0;
    expect(await load({ revision: 'v2', local_files_only: true })).toEqual(expected);
    expect(hub.asked).toEqual([]);
  });

  it('dtype: of all sessions or of each, and those that are there when one is not', async () => {
    expect(await load({ dtype: { embed_tokens: 'fp32', vision_encoder: 'fp32' } })).toEqual(expected);
    expect(await refusal(load({ dtype: 'q8' }))).toBe(
      'missing-file: tiny/llava has no onnx/embed_tokens_quantized.onnx; set dtype to one it has: fp32.',
    );
    expect(await refusal(load({ dtype: { decoder_model_merged: 'q4' } }))).toBe(
      'missing-file: tiny/llava has no onnx/decoder_model_merged_q4.onnx; set dtype to one it has: fp32.',
    );
  });

  it('weights in files of their own are fetched with the graphs', async () => {
    await serve(await modelBeside());
    hub.trouble[DATA] = { breaksAfter: 9_000 };
    expect(await refusal(load())).toMatch(/broke off after 9.0 kB/);
    hub.trouble[DATA] = {};
    expect(await load()).toEqual(expected);
    expect(hub.fetched(DATA)).toEqual([undefined, 'bytes=9000-']);
  });

  it('progress_callback: each file from initiate to done, and all of them together', async () => {
    const events: ProgressInfo[] = [];
    await load({ progress_callback: (event) => events.push(event) });
    const of = events.filter((event) => 'file' in event && event.file === DECODER);
    expect([...new Set(of.map(({ status }) => status))]).toEqual([
      'initiate',
      'download',
      'progress',
      'done',
    ]);
    const totals = events.filter((event) => event.status === 'progress_total');
    expect(totals.at(-1)).toMatchObject({ name: 'tiny/llava', progress: 100 });
    expect(Object.keys(totals.at(-1)!.files)).toHaveLength(3);
  });
});
