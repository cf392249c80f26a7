import { readFileSync, writeFileSync } from 'node:fs';
import { readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConvertOptions, convertCheckpoint } from '../../src/convert/index.js';
import { fillDirectory } from '../../src/convert/writing/work-directory.js';
import { ElasticCacheError } from '../../src/errors.js';
import { copyWithWeights, edit, scratch, tiny, type Values } from './checkpoints.js';

let place: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  place = await scratch();
});
afterAll(() => place.remove());

const upProjection = 'language_model.model.layers.1.mlp.up_proj.weight';
type Break = (directory: string) => Promise<void>;
const config =
  (change: (config: Record<string, unknown>) => void): Break =>
  (directory) =>
    edit(join(directory, 'config.json'), change);
const weights =
  (change: (tensors: Map<string, Values>) => void): Break =>
  (directory) =>
    copyWithWeights(directory, (tensors) => {
      change(tensors);
      return undefined;
    });
const without =
  (name: string): Break =>
  (directory) =>
    rm(join(directory, name));

it.each<[string, Break, string, RegExp]>([
  [
    'a missing tensor',
    weights((t) => t.delete(upProjection)),
    'invalid-checkpoint',
    /no tensor ".*up_proj.weight" \[96, 64\]/,
  ],
  [
    'a misshapen tensor',
    weights((t) => t.set(upProjection, { data: new Float32Array(64 * 64), shape: [64, 64] })),
    'invalid-checkpoint',
    /up_proj.weight" in model.safetensors should be \[96, 64\] by config.json but is \[64, 64\]/,
  ],
  [
    'an untied model without an output matrix',
    weights((t) => t.delete('language_model.lm_head.weight')),
    'invalid-checkpoint',
    /no tensor "language_model.lm_head.weight"/,
  ],
  [
    'truncated weights',
    (directory) => truncate(join(directory, 'model.safetensors'), 200_000),
    'invalid-checkpoint',
    /model.safetensors is truncated/,
  ],
  [
    'weights that are no safetensors',
    (directory) => writeFile(join(directory, 'model.safetensors'), Buffer.alloc(64)),
    'invalid-checkpoint',
    /not a safetensors file/,
  ],
  [
    'no weights',
    without('model.safetensors'),
    'missing-file',
    /neither model.safetensors nor pytorch_model.bin/,
  ],
  ['no tokenizer', without('tokenizer.json'), 'missing-file', /has no tokenizer.json/],
  ['no preprocessor', without('preprocessor_config.json'), 'missing-file', /has no preprocessor_config.json/],
  [
    'another architecture',
    config((c) => Object.assign(c, { model_type: 'qwen3_vl' })),
    'unsupported-model',
    /model_type = "qwen3_vl", but only llava or qwen or qwen2_vl or qwen2_5_vl or idefics3 or smolvlm or llama or mistral or qwen2 or qwen3 or gemma3_text can be converted/,
  ],
  [
    'another decoder',
    config((c) => Object.assign(c.text_config as object, { model_type: 'mistral' })),
    'unsupported-model',
    /text_config.model_type = "mistral", but only llama/,
  ],
  [
    'scaled rotation',
    config((c) => Object.assign(c.text_config as object, { rope_scaling: { rope_type: 'yarn' } })),
    'unsupported-model',
    /"yarn" rotary scaling/,
  ],
  [
    'a feature layer that is not there',
    config((c) => Object.assign(c, { vision_feature_layer: -9 })),
    'invalid-checkpoint',
    /vision_feature_layer -9, but the vision tower has 3/,
  ],
  [
    'another tokenizer',
    config((c) => Object.assign(c, { image_token_index: 7 })),
    'invalid-checkpoint',
    /image_token_index 7, but tokenizer.json gives "<image>" the id 4/,
  ],
  [
    'another image size',
    (directory) =>
      edit(join(directory, 'preprocessor_config.json'), (c) =>
        Object.assign(c, { crop_size: { height: 224, width: 224 } }),
      ),
    'invalid-checkpoint',
    /height 224, but the vision tower takes 28/,
  ],
])('%s is refused in one sentence, and nothing is left', async (name, damage, code, message) => {
  const from = place.path(`${name} source`);
  await copyWithWeights(from, () => undefined);
  await damage(from);
  const error = await refusal({ from, to: place.path(name), dtype: 'fp32' });
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
  expect(await readdir(dirname(from))).not.toContain(name);
});

it.each<[string, Partial<ConvertOptions>, RegExp]>([
  [
    'an unknown dtype',
    { dtype: 'int2' as 'q8' },
    /dtype "int2" is unknown: choose one or several of fp32, fp16, q8, q4, q4f16/,
  ],
  ['no dtype', { dtype: [] }, /dtype \[\] is unknown/],
  ['an unknown block size', { blockSize: 48 as 32 }, /blockSize 48/],
  ['an occupied target', { to: tiny }, /is not empty/],
  ['a target where nothing can be made', { to: '/proc/a/b' }, /b cannot be made \(ENOENT/],
])('%s is refused', async (_, options, message) => {
  const error = await refusal({ from: tiny, to: place.path('option'), dtype: 'fp32', ...options });
  expect(error.code).toBe('invalid-option');
  expect(error.message).toMatch(message);
});

const left = async (to: string) => (await readdir(dirname(to))).filter((name) => name.includes(basename(to)));

it('an error on the way leaves no directory, and a full disk is said to be one', async () => {
  const to = place.path('interrupted');
  const interrupted = convertCheckpoint({
    from: tiny,
    to,
    dtype: 'fp32',
    onProgress: ({ stage }) => {
      if (stage === 'verifying') throw new Error('stop');
    },
  });
  await expect(interrupted).rejects.toThrow('stop');
  const full = fillDirectory(to, 'plan', async ({ directory }) => {
    await writeFile(join(directory, 'part'), 'half');
    throw Object.assign(new Error('write'), { code: 'ENOSPC' });
  });
  await expect(full).rejects.toMatchObject({ code: 'out-of-space' });
  const large = fillDirectory(to, 'plan', ({ refuseLarger }) => refuseLarger(4e18));
  await expect(large).rejects.toThrow(/will take 4000000.0 TB, and the disk of .* has .* left/);
  expect(await left(to)).toEqual([]);
});

it('an output that is not what was written is caught, and taken away', async () => {
  const to = place.path('corrupt');
  const data = join(dirname(to), '.corrupt.converting/model/onnx/decoder_model_merged_q4.onnx_data');
  let damaged = false;
  const converted = convertCheckpoint({
    from: tiny,
    to,
    dtype: 'q4',
    onProgress: ({ stage }) => {
      if (stage !== 'verifying' || damaged) return;
      damaged = true;
      const bytes = readFileSync(data);
      bytes[4096] = bytes[4096]! ^ 1;
      writeFileSync(data, bytes);
    },
  });
  await expect(converted).rejects.toMatchObject({
    code: 'invalid-data',
    message: expect.stringMatching(/onnx_data is not what was written there, at tensor "[^"]+": /),
  });
  expect(await left(to)).toEqual([]);
});

it('of two conversions to one place at once the second is refused', async () => {
  const to = place.path('twice');
  const both = await Promise.allSettled(
    [1, 2].map(() => convertCheckpoint({ from: tiny, to, dtype: 'fp32' })),
  );
  const reasons = both.flatMap((each) => (each.status === 'rejected' ? [String(each.reason)] : []));
  expect(reasons).toEqual([expect.stringContaining('is being made by another conversion')]);
  expect(await left(to)).toEqual(['twice']);
});

async function refusal(options: ConvertOptions): Promise<ElasticCacheError> {
  try {
    await convertCheckpoint(options);
  } catch (error) {
    if (error instanceof ElasticCacheError) return error;
    throw error;
  }
  throw new Error('It was converted.');
}
