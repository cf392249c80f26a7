import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  AutoProcessor,
  Idefics3ForConditionalGeneration,
  RawImage,
  SmolVLMForConditionalGeneration,
  Tensor,
} from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convertCheckpoint } from '../../src/convert/index.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { loadElastic } from '../../src/models/load.js';
import { largestDifference } from '../graph/exported-runs.js';
import { DTYPES, edit, readTensors, scratch, type Values } from './checkpoints.js';
import { greedy, type LoadedLlava, promptInputs } from './transformers-js.js';

/** A random checkpoint, and what Hugging Face transformers computes with it (fixtures/make_smolvlm.py). */
const checkpoint = fileURLToPath(new URL('fixtures/tiny-smolvlm', import.meta.url));

let place: Awaited<ReturnType<typeof scratch>>;
let expected: Map<string, Values>;
beforeAll(async () => {
  place = await scratch();
  expected = await readTensors(join(checkpoint, 'expected.safetensors'));
  await convertCheckpoint({ from: checkpoint, to: place.path('model'), dtype: DTYPES, blockSize: 32 });
});
afterAll(() => place.remove());

type Loadable = { from_pretrained(directory: string, options: object): Promise<unknown> };
async function load(
  directory: string,
  dtype = 'fp32',
  kind: Loadable = SmolVLMForConditionalGeneration as Loadable,
) {
  return (await kind.from_pretrained(directory, { local_files_only: true, dtype })) as LoadedLlava;
}

async function prompt() {
  const { scalar: _, ...inputs } = await promptInputs(expected);
  return inputs;
}
const generatedOf = (output: { data: BigInt64Array }) =>
  Array.from(output.data.slice(expected.get('input_ids')!.data.length), Number);

describe('SmolVLM in unmodified transformers.js', () => {
  // Bounds: float32 rounding; and, for weights this small and random, what 8 and 4 bits were measured to cost, with a little room.
  it.each([
    ['fp32', 5e-5],
    ['fp16', 0.02],
    ['q8', 0.3],
    ['q4', 2.5],
    ['q4f16', 2.5],
  ] as const)('%s: logits are those of Hugging Face transformers', async (dtype, bound) => {
    const model = await load(place.path('model'), dtype);
    const { logits } = await model(await prompt());
    expect(largestDifference(logits.data, expected.get('logits')!.data)).toBeLessThan(bound);
    await model.dispose();
  });

  it('fp32: features of tiles, with empty ones between prompts, and 32 tokens are those of PyTorch', async () => {
    const model = await load(place.path('model'));
    const { pixel_values: pixels, ...text } = await prompt();
    const features = expected.get('image_features')!.data;
    // A second prompt of one tile, filled up with an empty one.
    const data = new Float32Array(2 * pixels.size);
    data.set(pixels.data);
    data.set(pixels.data.subarray(0, pixels.size / 2), pixels.size);
    const two = await model.encode_image({ pixel_values: new Tensor('float32', data, [2, 2, 3, 16, 16]) });
    expect(two.dims).toEqual([3, 4, 48]);
    expect(largestDifference(two.data.subarray(0, features.length), features)).toBeLessThan(5e-5);
    expect(
      largestDifference(two.data.subarray(features.length), features.subarray(0, features.length / 2)),
    ).toBeLessThan(5e-5);
    const output = await model.generate({ pixel_values: pixels, ...text, ...greedy });
    expect(generatedOf(output)).toEqual([...expected.get('generated')!.data]);
    await model.dispose();
  });

  it('its processor makes tiles and as many tokens', async () => {
    const processor = await AutoProcessor.from_pretrained(place.path('model'), { local_files_only: true });
    const image = new RawImage(new Uint8ClampedArray(32 * 32 * 3).fill(255), 32, 32, 3);
    const inputs = await processor('<image>', [image]);
    expect(inputs.pixel_values.dims).toEqual([1, 5, 3, 16, 16]);
    const ids = Array.from(inputs.input_ids.data as BigInt64Array, Number);
    expect(ids.filter((id) => id === 3)).toHaveLength(5 * 4);
  });
});

it('loadElastic gives those tokens at budget 1', async () => {
  const loaded = await loadElastic(place.path('model'), { dtype: 'fp32' });
  const model = loaded.model as unknown as LoadedLlava;
  const cache = new ElasticCache({ budget: 1 });
  const output = await model.generate({ ...(await prompt()), ...greedy, past_key_values: cache });
  expect(generatedOf(output)).toEqual([...expected.get('generated')!.data]);
  await model.dispose();
});

it('Idefics3 is the same by another name', async () => {
  const from = place.path('idefics3');
  await cp(checkpoint, from, { recursive: true });
  await edit(join(from, 'config.json'), (config) => {
    config.model_type = 'idefics3';
  });
  await convertCheckpoint({ from, to: place.path('idefics3 model'), dtype: 'fp32' });
  const model = await load(
    place.path('idefics3 model'),
    'fp32',
    Idefics3ForConditionalGeneration as Loadable,
  );
  const { logits } = await model(await prompt());
  expect(largestDifference(logits.data, expected.get('logits')!.data)).toBeLessThan(5e-5);
  await model.dispose();
});

it.each<[string, string, (content: Record<string, unknown>) => void, RegExp]>([
  [
    'another tokenizer',
    'config.json',
    (c) => Object.assign(c, { image_token_id: 7 }),
    /image_token_id 7, but tokenizer.json gives "<image>" the id 3/,
  ],
  [
    'other tiles',
    'preprocessor_config.json',
    (c) => Object.assign(c, { max_image_size: { longest_edge: 512 } }),
    /makes tiles of 512 pixels \(max_image_size\), but the vision tower takes 16/,
  ],
  [
    'a scale that does not divide',
    'config.json',
    (c) => Object.assign(c, { scale_factor: 3 }),
    /scale_factor 3/,
  ],
])('SmolVLM with %s is refused in one sentence', async (name, file, change, message) => {
  const from = place.path(name);
  await cp(checkpoint, from, { recursive: true });
  await edit(join(from, file), change);
  await expect(convertCheckpoint({ from, to: place.path('no'), dtype: 'fp32' })).rejects.toThrow(message);
});
