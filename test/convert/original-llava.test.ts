import { cp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutoProcessor, RawImage, Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConvertOptions, convertCheckpoint } from '../../src/convert/index.js';
import { readPytorch } from '../../src/convert/reading/pytorch.js';
import { TensorFile } from '../../src/convert/reading/tensor-file.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { loadElastic } from '../../src/models/load.js';
import { run } from '../cli/run-cli.js';
import { largestDifference } from '../graph/exported-runs.js';
import { edit, readTensors, scratch, tiny, type Values, writeSafetensors } from './checkpoints.js';
import { greedy, type LoadedLlava, loadConverted, promptInputs } from './transformers-js.js';

/** A random checkpoint in the layout of LLaVA's authors, its vision tower, and what PyTorch computes (fixtures/make_original_llava.py). */
const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const checkpoint = fixture('original-llava');
const tower = fixture('original-llava-tower');
const system =
  "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";

let place: Awaited<ReturnType<typeof scratch>>;
let expected: Map<string, Values>;
beforeAll(async () => {
  place = await scratch();
  expected = await readTensors(join(checkpoint, 'expected.safetensors'));
  const { code, stderr } = await run(
    ...['convert', '--from', checkpoint, '--vision-tower', tower, '--to', place.path('model')],
    ...['--dtype', 'fp32,q4', '--block-size', '32'],
  );
  expect({ code, stderr }).toMatchObject({ code: 0 });
});
afterAll(() => place.remove());

/** What is stored of the tower as numbers with a fraction. */
async function towerTensors() {
  const path = join(tower, 'pytorch_model.bin');
  const file = await TensorFile.open(path, readPytorch);
  const found: [string, Values][] = [];
  for (const [name, { dtype, shape }] of file.tensors)
    if (dtype === 'F16') found.push([name, { data: await file.read(name), shape }]);
  await file.close();
  return found;
}
const generatedOf = (output: { data: BigInt64Array }) =>
  Array.from(output.data.slice(expected.get('input_ids')!.shape[1]), Number);

describe("LLaVA in its authors' layout, in unmodified transformers.js", () => {
  it('vision features, logits of the prompt and of 32 steps are those of PyTorch', async () => {
    const model = await loadConverted(place.path('model'), 'fp32');
    const { scalar: _, ...inputs } = await promptInputs(expected);
    const features = await model.encode_image({ pixel_values: inputs.pixel_values });
    expect(largestDifference(features.data, expected.get('image_features')!.data)).toBeLessThan(5e-5);
    const ids = [...expected.get('input_ids')!.data, ...expected.get('generated')!.data].map(BigInt);
    const int64 = (values: bigint[]) => new Tensor('int64', BigInt64Array.from(values), [1, values.length]);
    const { logits } = await model({
      ...inputs,
      input_ids: int64(ids),
      attention_mask: int64(ids.map(() => 1n)),
    });
    expect(logits.dims.slice(1)).toEqual(expected.get('logits')!.shape);
    expect(largestDifference(logits.data, expected.get('logits')!.data)).toBeLessThan(5e-5);
    const output = await model.generate({ ...inputs, ...greedy });
    expect(generatedOf(output)).toEqual([...expected.get('generated')!.data]);
    await model.dispose();
  });

  it('loadElastic at budget 1 gives those tokens too', async () => {
    const loaded = await loadElastic(place.path('model'), { dtype: 'fp32' });
    const model = loaded.model as unknown as LoadedLlava;
    const { scalar: _, ...inputs } = await promptInputs(expected);
    const cache = new ElasticCache({ budget: 1 });
    const output = await model.generate({ ...inputs, ...greedy, past_key_values: cache });
    expect(generatedOf(output)).toEqual([...expected.get('generated')!.data]);
    await model.dispose();
  });

  it('prompts are vicuna_v1, with the image before the question and an image token of its own', async () => {
    const processor = await AutoProcessor.from_pretrained(place.path('model'), { local_files_only: true });
    const ask = (text: string, role = 'user') => ({ role, content: [{ type: 'text', text }] });
    const picture = { role: 'user', content: [{ type: 'text', text: 'What?' }, { type: 'image' }] };
    const prompt = (...messages: unknown[]) =>
      processor.apply_chat_template(messages as never, { add_generation_prompt: true });
    expect(prompt(picture)).toBe(`${system} USER: <image>\nWhat? ASSISTANT:`);
    expect(prompt(ask('One'), ask('Two', 'assistant'), ask('Three'))).toBe(
      `${system} USER: One ASSISTANT: Two</s>USER: Three ASSISTANT:`,
    );
    expect(prompt(ask('Be brief.', 'system'), ask('One'))).toBe('Be brief. USER: One ASSISTANT:');
    expect(processor.tokenizer!.encode('<image>', { add_special_tokens: false })).toEqual([48]);
  });

  it('an image is padded around its middle to a square, with the mean colour', async () => {
    const processor = await AutoProcessor.from_pretrained(place.path('model'), { local_files_only: true });
    const image = new RawImage(new Uint8ClampedArray(56 * 28 * 3).fill(255), 56, 28, 3);
    const { pixel_values: pixels } = await processor(image, '<image>');
    expect(pixels.dims).toEqual([1, 3, 28, 28]);
    const rows = Array.from({ length: 28 }, (_, y) => pixels.data[y * 28]);
    expect(rows.map((value) => value === 0)).toEqual(rows.map((_, y) => y < 7 || y >= 21));
  });

  it('a tower inside is the one that is read, whatever another directory holds', async () => {
    const from = place.path('tower inside');
    await cp(checkpoint, from, { recursive: true, filter: (path) => !/pytorch_model/.test(path) });
    const shards = ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin'];
    const tensors = new Map<string, Values>();
    for (const shard of shards)
      for (const [name, values] of await readTensors(join(checkpoint, shard))) tensors.set(name, values);
    const other = place.path('another tower');
    await cp(tower, other, { recursive: true, filter: (path) => !path.endsWith('.bin') });
    const zeros = new Map<string, Values>();
    for (const [name, { data, shape }] of await towerTensors()) {
      tensors.set(`model.vision_tower.vision_tower.${name}`, { data, shape });
      zeros.set(name, { data: new Float32Array(data.length), shape });
    }
    await writeSafetensors(join(from, 'model.safetensors'), tensors, 'F32');
    await writeSafetensors(join(other, 'model.safetensors'), zeros, 'F32');
    await convertCheckpoint({ from, visionTower: other, to: place.path('of inside'), dtype: 'fp32' });
    const model = await loadConverted(place.path('of inside'), 'fp32');
    const { scalar: _, ...inputs } = await promptInputs(expected);
    const features = await model.encode_image({ pixel_values: inputs.pixel_values });
    expect(largestDifference(features.data, expected.get('image_features')!.data)).toBeLessThan(5e-5);
    await model.dispose();
  });

  it('q4 has as many weights to a scale as asked for', async () => {
    const graph = await readFile(join(place.path('model'), 'onnx', 'decoder_model_merged_q4.onnx'));
    const at = graph.indexOf('block_size');
    // Attribute i, field 3, a varint.
    expect(graph.subarray(at + 10, at + 12)).toEqual(Buffer.from([0x18, 32]));
  });
});

describe("LLaVA in its authors' layout that cannot be converted", () => {
  const copy = async (name: string, change: (directory: string) => Promise<void>) => {
    const from = place.path(`${name} source`);
    await cp(checkpoint, from, { recursive: true });
    await change(from);
    return from;
  };
  const config = (change: (config: Record<string, unknown>) => void) => (directory: string) =>
    edit(join(directory, 'config.json'), change);
  const refused = (options: Partial<ConvertOptions>) =>
    expect(convertCheckpoint({ from: checkpoint, to: place.path('no'), dtype: 'fp32', ...options })).rejects;

  it('has no tower, and the one to get is named', async () => {
    await refused({}).toMatchObject({
      code: 'missing-file',
      message: expect.stringContaining('names the vision tower "openai/clip-vit-tiny": give its directory'),
    });
    const named = { mm_vision_tower: 'openai/clip-vit-large-patch14-336' };
    const from = await copy(
      'tower',
      config((c) => Object.assign(c, named)),
    );
    await refused({ from }).toMatchObject({
      code: 'missing-file',
      message: expect.stringContaining('holds no vision tower: download openai/clip-vit-large-patch14-336'),
    });
  });

  it.each<[string, (directory: string) => Promise<void>, RegExp]>([
    [
      'a linear projector',
      config((c) => Object.assign(c, { mm_projector_type: 'linear' })),
      /mm_projector_type = "linear"/,
    ],
    [
      'tiles',
      config((c) => Object.assign(c, { image_aspect_ratio: 'anyres' })),
      /image_aspect_ratio = "anyres", but only pad or square/,
    ],
    [
      'a slow tokenizer only',
      async (directory) => {
        await rm(join(directory, 'tokenizer.json'));
        await writeFile(join(directory, 'tokenizer.model'), '');
      },
      /put the tokenizer.json of a model with the same tokens beside it \(for LLaVA-1.5 that of llava-hf\/llava-1.5-7b-hf\)/,
    ],
    [
      'a missing shard',
      (directory) =>
        rename(join(directory, 'pytorch_model-00002-of-00002.bin'), join(directory, 'elsewhere.bin')),
      /pytorch_model-00002-of-00002.bin cannot be read/,
    ],
  ])('has %s', async (name, change, message) => {
    const from = await copy(name, change);
    await refused({ from, visionTower: tower }).toThrow(message);
  });

  it('a tower for a checkpoint that has its own is refused', async () => {
    await refused({ from: tiny, visionTower: tower }).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining("visionTower is for LLaVA checkpoints in their authors' layout"),
    });
  });
});
