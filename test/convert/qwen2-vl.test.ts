import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  AutoProcessor,
  Qwen2_5_VLForConditionalGeneration,
  Qwen2VLForConditionalGeneration,
  RawImage,
  Tensor,
} from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConvertDtype, convertCheckpoint } from '../../src/convert/index.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { loadElastic } from '../../src/models/load.js';
import { largestDifference } from '../graph/exported-runs.js';
import { DTYPES, edit, readTensors, scratch, type Values, writeSafetensors } from './checkpoints.js';
import type { LoadedLlava } from './transformers-js.js';
import { greedy } from './transformers-js.js';

/** A random checkpoint, and what Hugging Face transformers computes with it (fixtures/make_qwen2_vl.py, make_qwen2_5_vl.py). */
const checkpoint = fileURLToPath(new URL('fixtures/tiny-qwen2-vl', import.meta.url));

let place: Awaited<ReturnType<typeof scratch>>;
let expected: Map<string, Values>;
beforeAll(async () => {
  place = await scratch();
  expected = await readTensors(join(checkpoint, 'expected.safetensors'));
});
afterAll(() => place.remove());

type Loadable = { from_pretrained(directory: string, options: object): Promise<unknown> };
async function load(
  directory: string,
  dtype: ConvertDtype = 'fp32',
  kind: Loadable = Qwen2VLForConditionalGeneration as Loadable,
): Promise<LoadedLlava> {
  const options = { local_files_only: true, dtype };
  const model: unknown = await kind.from_pretrained(directory, options);
  return model as LoadedLlava;
}

const int64 = (values: ArrayLike<number>, dims: readonly number[]) =>
  new Tensor('int64', BigInt64Array.from(Array.from(values, BigInt)), [...dims]);
const of = (name: string) => expected.get(name)!;

/** The first `images` pictures. */
function pictures(images: number) {
  const grids = of('grids').data.subarray(0, images * 3);
  const patches = [0, 1].slice(0, images).reduce((sum, i) => sum + grids[i * 3 + 1]! * grids[i * 3 + 2]!, 0);
  return {
    pixel_values: new Tensor('float32', of('pixel_values').data.slice(0, patches * 96), [patches, 96]),
    image_grid_thw: int64(grids, [images, 3]),
  };
}

function prompt() {
  const ids = of('input_ids');
  return {
    ...pictures(1),
    input_ids: int64(ids.data, ids.shape),
    attention_mask: int64(
      ids.data.map(() => 1),
      ids.shape,
    ),
  };
}
const generatedOf = (output: { data: BigInt64Array }) =>
  Array.from(output.data.slice(of('input_ids').data.length), Number);

describe.each<[string, string, Loadable]>([
  ['Qwen2-VL', 'tiny-qwen2-vl', Qwen2VLForConditionalGeneration as Loadable],
  ['Qwen2.5-VL', 'tiny-qwen2-5-vl', Qwen2_5_VLForConditionalGeneration as Loadable],
])('%s in unmodified transformers.js', (_, name, kind) => {
  beforeAll(async () => {
    const from = fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
    expected = await readTensors(join(from, 'expected.safetensors'));
    await convertCheckpoint({
      from,
      to: place.path(name),
      dtype: DTYPES,
      blockSize: 32,
    });
  });

  // Bounds: float32 rounding; and, for weights this small and random, what 8 and 4 bits were measured to cost, with a little room.
  it.each([
    ['fp32', 5e-5],
    ['fp16', 0.02],
    ['q8', 0.3],
    ['q4', 2.5],
    ['q4f16', 2.5],
  ] as const)('%s: logits are those of Hugging Face transformers', async (dtype, bound) => {
    const model = await load(place.path(name), dtype, kind);
    const { logits } = await model(prompt());
    expect(largestDifference(logits.data, of('logits').data)).toBeLessThan(bound);
    await model.dispose();
  });

  it('fp32: features of one image, of two of unlike sizes, and 32 tokens are those of PyTorch', async () => {
    const model = await load(place.path(name), 'fp32', kind);
    const all = of('image_features').data;
    const two = await model.encode_image(pictures(2));
    expect(two.dims).toEqual([8, 64]);
    expect(largestDifference(two.data, all)).toBeLessThan(5e-5);
    const one = await model.encode_image(pictures(1));
    expect(largestDifference(one.data, all.subarray(0, 6 * 64))).toBeLessThan(5e-5);
    const output = await model.generate({ ...prompt(), ...greedy });
    expect(generatedOf(output)).toEqual([...of('generated').data]);
    await model.dispose();
  });

  it('its processor makes a picture and as many tokens', async () => {
    const processor = await AutoProcessor.from_pretrained(place.path(name), { local_files_only: true });
    const image = new RawImage(new Uint8ClampedArray(24 * 16 * 3).fill(255), 24, 16, 3);
    const inputs = await processor('<|vision_start|> <|image_pad|> <|vision_end|>', image);
    expect(inputs.pixel_values.dims).toEqual([24, 96]);
    expect(inputs.input_ids.dims).toEqual([1, 8]);
  });

  it('loadElastic gives those tokens at budget 1, and holds a fifth at 0.2', async () => {
    const loaded = await loadElastic(place.path(name), { dtype: 'fp32' });
    const model = loaded.model as unknown as LoadedLlava;
    const cache = new ElasticCache({ budget: 1 });
    const output = await model.generate({ ...prompt(), ...greedy, past_key_values: cache });
    expect(generatedOf(output)).toEqual([...of('generated').data]);
    const small = new ElasticCache({ budget: 0.2 });
    await model.generate({ ...prompt(), ...greedy, past_key_values: small });
    const seen = of('input_ids').data.length + 31;
    expect(small.stats().layers.map(({ tokensHeld }) => tokensHeld)).toEqual(
      Array(2).fill(Math.floor(seen * 0.2)),
    );
    await model.dispose();
  });
});

describe('other ways to store Qwen2-VL', () => {
  beforeAll(async () => {
    expected = await readTensors(join(checkpoint, 'expected.safetensors'));
  });

  it('newer names and a nested config give the same logits', async () => {
    const from = place.path('newer');
    await cp(checkpoint, from, { recursive: true });
    const tensors = await readTensors(join(from, 'model.safetensors'));
    const newName = (name: string) =>
      name.startsWith('visual.') ? `model.${name}` : name.replace(/^model\./, 'model.language_model.');
    const renamed = new Map([...tensors].map(([name, values]) => [newName(name), values]));
    await writeSafetensors(join(from, 'model.safetensors'), renamed, 'BF16');
    await edit(join(from, 'config.json'), (config) => {
      const { vision_config, model_type, image_token_id, video_token_id, vision_start_token_id, ...text } =
        config;
      const top = { vision_config, model_type, image_token_id, video_token_id, vision_start_token_id };
      for (const key of Object.keys(config)) delete config[key];
      const { rope_theta, rope_scaling, ...rest } = text;
      const rope_parameters = { rope_type: 'default', rope_theta, mrope_section: [2, 3, 3] };
      Object.assign(config, top, { text_config: { ...rest, model_type: 'qwen2_vl_text', rope_parameters } });
    });
    await convertCheckpoint({ from, to: place.path('newer model'), dtype: 'fp32' });
    const model = await load(place.path('newer model'));
    const { logits } = await model(prompt());
    expect(largestDifference(logits.data, of('logits').data)).toBeLessThan(5e-5);
    await model.dispose();
  });

  it.each<[string, string, (content: Record<string, unknown>) => void, RegExp]>([
    [
      'another tokenizer',
      'config.json',
      (c) => Object.assign(c, { image_token_id: 7 }),
      /image_token_id 7, but tokenizer.json gives "<\|image_pad\|>" the id 5/,
    ],
    [
      'other patches',
      'preprocessor_config.json',
      (c) => Object.assign(c, { patch_size: 14 }),
      /patch_size 14, but the vision tower takes 4/,
    ],
    [
      'no sections',
      'config.json',
      (c) => Object.assign(c, { rope_scaling: null }),
      /config.json has no mrope_section/,
    ],
    [
      'sections that do not fill a head',
      'config.json',
      (c) => Object.assign(c, { rope_scaling: { type: 'mrope', mrope_section: [16, 24, 24] } }),
      /heads of 16, but .* mrope_section 16, 24, 24/,
    ],
  ])('%s is refused in one sentence', async (name, file, change, message) => {
    const from = place.path(name);
    await cp(checkpoint, from, { recursive: true });
    await edit(join(from, file), change);
    await expect(convertCheckpoint({ from, to: place.path('no'), dtype: 'fp32' })).rejects.toThrow(message);
  });
});
