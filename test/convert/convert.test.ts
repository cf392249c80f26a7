import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConvertProgress, convertCheckpoint } from '../../src/convert/index.js';
import { largestDifference } from '../graph/exported-runs.js';
import {
  copyWithoutWeights,
  copyWithWeights,
  DTYPES,
  edit,
  readExpected,
  readTensors,
  scratch,
  tiny,
  type Values,
  writeSafetensors,
} from './checkpoints.js';
import { loadConverted, promptInputs } from './transformers-js.js';

let place: Awaited<ReturnType<typeof scratch>>;
const progress: ConvertProgress[] = [];

beforeAll(async () => {
  place = await scratch();
  await convertCheckpoint({
    from: tiny,
    to: place.path('all'),
    dtype: DTYPES,
    blockSize: 32,
    onProgress: (step) => progress.push(step),
  });
});
afterAll(() => place.remove());

describe('a converted checkpoint in unmodified transformers.js', () => {
  // Bounds: float32 rounding; and, for weights this small and random, what 8 and 4 bits were measured to cost, with a little room.
  it.each([
    ['fp32', 5e-5, 5e-5],
    ['fp16', 0.02, 0.02],
    ['q8', 0.2, 0.4],
    ['q4', 0.2, 3],
    ['q4f16', 0.02, 3],
  ])(
    '%s: vision features and logits are those of Hugging Face transformers',
    async (dtype, ofFeatures, ofLogits) => {
      const model = await loadConverted(place.path('all'), dtype);
      const inputs = await promptInputs();
      const features = await model.encode_image({ pixel_values: inputs.pixel_values });
      expect(features.dims).toEqual([1, 4, 64]);
      expect(largestDifference(features.data, (await readExpected('image_features')).data)).toBeLessThan(
        ofFeatures,
      );
      const { logits } = await model(inputs);
      expect(logits.dims).toEqual([1, 27, 96]);
      expect(largestDifference(logits.data, (await readExpected('logits')).data)).toBeLessThan(ofLogits);
      await model.dispose();
    },
  );

  it('generates the tokens of Hugging Face transformers', async () => {
    const model = await loadConverted(place.path('all'), 'fp32');
    const inputs = await promptInputs();
    const tokens = await model.generate({
      ...inputs,
      max_new_tokens: 32,
      min_new_tokens: 32,
      do_sample: false,
      eos_token_id: -1,
    });
    const generated = Array.from(tokens.data.slice(inputs.input_ids.dims[1]), Number);
    expect(generated).toEqual([...(await readExpected('generated')).data]);
    await model.dispose();
  });

  it('gives logits for the last token only when asked, equal to the last of all', async () => {
    const model = await loadConverted(place.path('all'), 'fp32');
    const inputs = await promptInputs();
    const all = await model(inputs);
    const last = await model({ ...inputs, num_logits_to_keep: inputs.scalar(1n) });
    expect(last.logits.dims).toEqual([1, 1, 96]);
    expect(largestDifference(last.logits.data, all.logits.data.slice(-96))).toBeLessThan(1e-6);
    await model.dispose();
  });
});

describe('a converted directory', () => {
  it('holds the files transformers.js looks for, the chat template in the tokenizer, data files by name', async () => {
    const directory = place.path('all');
    const text = (name: string) => readFile(join(directory, name), 'utf8').then(JSON.parse);
    expect((await readdir(directory)).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'onnx',
      'preprocessor_config.json',
      'processor_config.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect((await text('tokenizer_config.json')).chat_template).toContain('ASSISTANT');
    expect(await text('processor_config.json')).toMatchObject({
      patch_size: 14,
      num_additional_image_tokens: 0,
    });
    expect((await text('preprocessor_config.json')).processor_class).toBe('LlavaProcessor');
    const config = await text('config.json');
    expect(config.text_config).toMatchObject({ num_key_value_heads: 2, head_dim: 16 });
    const named = config['transformers.js_config'].use_external_data_format;
    const data = (await readdir(join(directory, 'onnx'))).filter((name) => name.endsWith('_data'));
    expect(data.sort()).toEqual(
      Object.keys(named)
        .map((name) => `${name}_data`)
        .sort(),
    );
  });

  it('reports every tensor of every file as it is written and as it is verified', () => {
    const half = progress.length / 2;
    expect(progress.map(({ stage }) => stage)).toEqual(
      progress.map((_, at) => (at < half ? 'writing' : 'verifying')),
    );
    expect(new Set(progress.map(({ file }) => file)).size).toBe(15);
    const bytes = progress.map((step) => step.bytes);
    expect(bytes).toEqual(bytes.toSorted((a, b) => a - b));
    expect(progress.at(-1)).toMatchObject({ bytes: progress[0]!.total, secondsLeft: 0 });
  });
});

describe('other ways to store the same weights', () => {
  const newName = (name: string) =>
    name
      .replace(/^language_model\.model\./, 'model.language_model.')
      .replace(/^language_model\.lm_head\./, 'lm_head.')
      .replace(/^vision_tower\.vision_model\./, 'model.vision_tower.vision_model.')
      .replace(/^multi_modal_projector\./, 'model.multi_modal_projector.');
  const renamed = (tensors: Map<string, Values>, rename: (name: string) => string) =>
    new Map([...tensors].map(([name, values]) => [rename(name), values]));
  const version5 = (name: string) => newName(name).replace('.vision_tower.vision_model.', '.vision_tower.');
  const decoderBytes = (name: string) =>
    readFile(join(place.path(name), 'onnx', 'decoder_model_merged.onnx_data'));

  it.each([
    ['float32', 'F32', (name: string) => name],
    ['bfloat16, newer names', 'BF16', newName],
    ['float32, names of transformers 5', 'F32', version5],
  ] as const)('%s gives the same graphs, byte for byte', async (name, dtype, rename) => {
    await copyWithWeights(place.path(`${name} source`), (tensors) => renamed(tensors, rename), dtype);
    await convertCheckpoint({ from: place.path(`${name} source`), to: place.path(name), dtype: 'fp32' });
    for (const file of await readdir(join(place.path(name), 'onnx'))) {
      const bytes = await readFile(join(place.path(name), 'onnx', file));
      expect(bytes.equals(await readFile(join(place.path('all'), 'onnx', file))), file).toBe(true);
    }
  });

  it('float16 gives the same numbers where it can hold them', async () => {
    await copyWithWeights(place.path('f16 source'), () => undefined, 'F16');
    await convertCheckpoint({ from: place.path('f16 source'), to: place.path('f16'), dtype: 'fp32' });
    const numbers = (bytes: Buffer) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const difference = largestDifference(
      numbers(await decoderBytes('f16')),
      numbers(await decoderBytes('all')),
    );
    expect(difference).toBeLessThan(2 ** -24);
  });

  it('shards named by an index give the same graphs', async () => {
    const from = place.path('sharded source');
    await copyWithoutWeights(from);
    const tensors = [...(await readTensors(join(tiny, 'model.safetensors')))];
    const weightMap: Record<string, string> = {};
    for (const [i, part] of [tensors.slice(0, 30), tensors.slice(30)].entries()) {
      const shard = `model-0000${i + 1}-of-00002.safetensors`;
      await writeSafetensors(join(from, shard), new Map(part), 'BF16');
      for (const [name] of part) weightMap[name] = shard;
    }
    await writeFile(join(from, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));
    await convertCheckpoint({ from, to: place.path('sharded'), dtype: 'fp32' });
    expect((await decoderBytes('sharded')).equals(await decoderBytes('all'))).toBe(true);
  });

  it('safetensors win over files of PyTorch', async () => {
    const from = place.path('both source');
    await copyWithWeights(from, () => undefined);
    await writeFile(join(from, 'pytorch_model.bin'), 'anything');
    await convertCheckpoint({ from, to: place.path('both'), dtype: 'fp32' });
    expect((await decoderBytes('both')).equals(await decoderBytes('all'))).toBe(true);
  });

  it('a tied model reads its output matrix from the embedding', async () => {
    const from = place.path('tied source');
    await copyWithWeights(from, (tensors) => {
      tensors.delete('language_model.lm_head.weight');
      return undefined;
    });
    await edit(join(from, 'config.json'), (config) => {
      config.tie_word_embeddings = true;
    });
    await convertCheckpoint({ from, to: place.path('tied'), dtype: 'q8' });
    const model = await loadConverted(place.path('tied'), undefined);
    expect((await model(await promptInputs())).logits.dims).toEqual([1, 27, 96]);
    await model.dispose();
  });
});
