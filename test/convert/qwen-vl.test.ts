import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AutoProcessor, AutoTokenizer, RawImage, Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { qwenVlModel } from '../../src/convert/architectures/qwen-vl.js';
import { readCheckpointFiles } from '../../src/convert/checkpoint/checkpoint-files.js';
import { convertCheckpoint } from '../../src/convert/index.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { chat } from '../../src/models/conversation/chat.js';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { embeddedImage } from '../../src/models/embedded.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { run } from '../cli/run-cli.js';
import { largestDifference } from '../graph/exported-runs.js';
import { DTYPES, readTensors, scratch, type Values } from './checkpoints.js';
import { pictures, tinyQwenVl, writeQwenVl } from './qwen-vl-checkpoint.js';
import { greedy, type LoadedLlava, loadConverted, shareOff } from './transformers-js.js';

let place: Awaited<ReturnType<typeof scratch>>;
let expected: Map<string, Values>;
beforeAll(async () => {
  place = await scratch();
  expected = await readTensors(join(tinyQwenVl, 'expected.safetensors'));
  await writeQwenVl(place.path('source'));
  await convertCheckpoint({
    from: place.path('source'),
    to: place.path('model'),
    dtype: DTYPES,
    blockSize: 32,
  });
});
afterAll(() => place.remove());

const valuesOf = (name: string) => expected.get(name)!;
const int64 = (values: ArrayLike<number>) =>
  new Tensor('int64', BigInt64Array.from(Array.from(values, BigInt)), [1, values.length]);

/** What the golden's prompt is given as: within what was trained and one picture, or beyond and two. */
function prompt(name: 'short' | 'long', more: ArrayLike<number> = []) {
  const ids = [...valuesOf(`${name}.input_ids`).data, ...Array.from(more)];
  return {
    input_ids: int64(ids),
    attention_mask: int64(ids.map(() => 1)),
    pixel_values: pictures().slice([0, name === 'short' ? 1 : 2]),
  };
}

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const event of events) list.push(event);
  return list;
}

describe('Qwen-VL of 2023, converted', () => {
  // Bounds: float32 rounding; and, for weights this small and random, what 8 and 4 bits were measured to cost, with a little room.
  it.each([
    ['fp32', 5e-5, 3e-6],
    ['fp16', 0.02, 0.004],
    ['q8', 0.2, 0.1],
    ['q4', 0.2, 0.6],
    ['q4f16', 0.02, 0.6],
  ] as const)(
    '%s: two pictures, and logits of a prompt and 32 steps, are those of the original',
    async (dtype, ofFeatures, ofLogits) => {
      const model = await loadConverted(place.path('model'), dtype);
      const features = await model.encode_image({ pixel_values: pictures() });
      expect(features.dims).toEqual([2, 16, 256]);
      expect(largestDifference(features.data, valuesOf('image_features').data)).toBeLessThan(ofFeatures);
      const { logits } = await model(prompt('short', valuesOf('short.generated').data));
      const wanted = valuesOf('short.logits').data;
      expect(shareOff(logits.data.slice(-wanted.length), wanted)).toBeLessThan(ofLogits);
      await model.dispose();
    },
  );

  it('a model that does not chat goes on with what it is given, its pictures numbered', async () => {
    const files = await readCheckpointFiles(place.path('source'));
    const raw = { ...files, generation: { ...files.generation, chat_format: 'raw' } };
    const made = qwenVlModel(raw).files({ dtype: 'q4', dataFiles: {} });
    expect(made['generation_config.json']).toMatchObject({ eos_token_id: [278] });
    const { chat_template, eos_token } = made['tokenizer_config.json'] as Record<string, string>;
    expect(eos_token).toBe('<|endoftext|>');
    const tokenizer = await AutoTokenizer.from_pretrained(place.path('model'), { local_files_only: true });
    const content = [{ type: 'image' }, { type: 'image' }, { type: 'text', text: 'the' }];
    expect(
      tokenizer.apply_chat_template([{ role: 'user', content }] as never, {
        chat_template: chat_template!,
        tokenize: false,
      }),
    ).toBe('Picture 1: <img><imgpad></img>\nPicture 2: <img><imgpad></img>\nthe');
  });

  it('unmodified transformers.js: a prompt within the trained length, and 32 steps beyond', async () => {
    const model = await loadConverted(place.path('model'), 'fp32');
    const said = valuesOf('short.generated').data;
    const { logits } = await model(prompt('short', said));
    const wanted = valuesOf('short.logits').data;
    expect(largestDifference(logits.data.slice(-wanted.length), wanted)).toBeLessThan(1e-4);
    const output = await model.generate({ ...prompt('short'), ...greedy });
    expect(Array.from(output.data.slice(-32), Number)).toEqual([...said]);
    await model.dispose();
  });
});

describe('Qwen-VL of 2023 in loadElastic', () => {
  let loaded: LoadedModel;
  let model: LoadedLlava;
  beforeAll(async () => {
    loaded = await loadElastic(place.path('model'), { dtype: 'fp32' });
    model = loaded.model as unknown as LoadedLlava;
  });
  afterAll(() => model.dispose());

  // The long prompt is rotated more slowly, by its own length, and so is all that follows it, through fork and file.
  it.each(['short', 'long'] as const)(
    '%s: logits of the prompt and of 32 steps, and the tokens',
    async (name) => {
      const said = valuesOf(`${name}.generated`).data;
      const wanted = valuesOf(`${name}.logits`).data;
      const width = wanted.length / 33;
      let cache = new ElasticCache({ budget: 1 });
      let inputs: object = prompt(name);
      for (let step = 0; step <= 32; step++) {
        const { logits } = await model({ ...inputs, past_key_values: cache } as object);
        const row = wanted.subarray(step * width, (step + 1) * width);
        expect(largestDifference(logits.data.slice(-width), row)).toBeLessThan(1e-4);
        if (step === 32) break;
        if (step === 10) cache = ElasticCache.load(cache.save());
        const length = cache.seen + 1;
        inputs = { input_ids: int64([said[step]!]), attention_mask: int64(Array(length).fill(1)) };
      }
      const output = await model.generate({
        ...prompt(name),
        ...greedy,
        past_key_values: new ElasticCache({ budget: 1 }),
      });
      expect(Array.from(output.data.slice(-32), Number)).toEqual([...said]);
    },
  );

  it('several pictures in a prompt, numbered, each with its tokens, in the words of the original', async () => {
    const image = new RawImage(new Uint8ClampedArray(20 * 30 * 3).fill(200), 20, 30, 3);
    const inputs = await prepareInputs(loaded, { images: [image, image], prompt: 'What is the other one?' });
    expect(Array.from(inputs.input_ids.data as BigInt64Array, Number)).toEqual([
      ...valuesOf('long.input_ids').data,
    ]);
    expect((inputs.pixel_values as Tensor).dims).toEqual([2, 3, 64, 64]);
  });

  it('chats over two turns with a picture in each, at a fifth', async () => {
    const image = new RawImage(new Uint8ClampedArray(64 * 64 * 3).fill(100), 64, 64, 3);
    const cache = new ElasticCache({ budget: 0.2 });
    const { ask } = chat(loaded, { cache });
    for (const question of ['What is the thing?', 'and the other?']) {
      const events = ask({ images: [image], prompt: question, maxNewTokens: 8 });
      const finished = (await all(events)).find(({ type }) => type === 'finish');
      expect(finished).toMatchObject({ reason: 'length' });
    }
    expect(cache.seen).toBeGreaterThan(64);
  });

  it('keys of a prompt beyond the trained length are not turned to other positions', async () => {
    const cache = new ElasticCache({ budget: 0.5, policy: 'elastic', mergedKeys: 'turned' });
    await expect(model.generate({ ...prompt('long'), ...greedy, past_key_values: cache })).rejects.toThrow(
      'A prompt of 124 tokens is rotated more slowly than one of 64',
    );
  });
});

it('answers on the command line about two pictures', async () => {
  const args = [
    'generate',
    '--model',
    place.path('model'),
    '--image',
    embeddedImage(1),
    '--image',
    embeddedImage(2),
  ];
  const { code, stdout, stderr } = await run(
    ...args,
    '--prompt',
    'the other?',
    '--max-new-tokens',
    '4',
    '--dtype',
    'q4',
  );
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stdout.length).toBeGreaterThan(0);
});

describe('the tokenizer of its tiktoken ranks', () => {
  it('gives the tokens of tiktoken, and the text back', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(place.path('model'), { local_files_only: true });
    const golden = JSON.parse(await readFile(join(tinyQwenVl, 'tokens.json'), 'utf8')) as Record<
      string,
      number[]
    >;
    for (const [text, ids] of Object.entries(golden)) {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });

  it('the processor of unmodified transformers.js puts one picture into a prompt', async () => {
    const processor = await AutoProcessor.from_pretrained(place.path('model'), { local_files_only: true });
    const image = new RawImage(new Uint8ClampedArray(20 * 30 * 3).fill(200), 20, 30, 3);
    const text = processor.apply_chat_template(
      [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: 'What?' }] }] as never,
      { add_generation_prompt: true },
    );
    expect(text).toContain('<|im_start|>user\nPicture 1: <img><imgpad></img>\nWhat?<|im_end|>\n');
    const { input_ids } = await processor(image, text);
    const pads = Array.from(input_ids.data as BigInt64Array, Number).filter((id) => id === 494);
    expect(pads).toHaveLength(16);
  });
});
