import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Phi3VForCausalLM,
  type PreTrainedModel,
  type RawImage,
  type Tensor,
} from '@huggingface/transformers';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { type Inputs, prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { promptText } from '../../src/models/conversation/template/prompt-text.js';
import { phi3V } from '../../src/models/families/phi3-v.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { SharedPrompts } from '../../src/models/measuring/shared-prompts.js';
import { run } from '../cli/run-cli.js';
import { picture } from '../picture.js';
import { decoderOf, followedBy, idsOf, positionsDuring } from './family-runs.js';
import { FAMILIES, writeTinyFamily } from './tiny-families.js';

/** Tokens of a picture of 20 by 20 pixels, and of one half as high. */
const [SQUARE, WIDE] = [27, 17];

let directory: string;
let stock: PreTrainedModel;
let elastic: LoadedModel;
let square: RawImage;
let wide: RawImage;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'phi3-v-'));
  await writeTinyFamily(directory, FAMILIES['Phi-3.5-vision']!);
  stock = await Phi3VForCausalLM.from_pretrained(directory, { dtype: 'fp32', local_files_only: true });
  elastic = await loadElastic(directory, { threads: 1 });
  square = picture(37);
  wide = await picture(91).crop([0, 0, 19, 9]);
});
afterAll(async () => {
  await stock.dispose();
  await elastic.model.dispose();
  await rm(directory, { recursive: true });
});

const ask = (images: RawImage[], prompt = 'w2 w3') => prepareInputs(elastic, { images, prompt });
const generate = (
  model: PreTrainedModel,
  inputs: Inputs,
  past_key_values?: ElasticCache,
  max_new_tokens = 4,
) =>
  model.generate({
    ...inputs,
    max_new_tokens,
    do_sample: false,
    ...(past_key_values ? { past_key_values: past_key_values as never } : {}),
  }) as Promise<Tensor>;
const imageTokensIn = ({ input_ids }: Inputs) =>
  (input_ids.data as BigInt64Array).filter((id) => id < 0n).length;

it('is asked in the form of its template', () => {
  expect(promptText(elastic, 0, 'w2 w3')).toBe('<|user|>\nw2 w3<|end|>\n<|assistant|>\n');
  const two = '<|user|>\n<|image|>\n<|image|>\nw2 w3<|end|>\n<|assistant|>\n';
  expect(promptText(elastic, 2, 'w2 w3')).toBe(two);
  expect(phi3V.plainPrompt(['<|image|>', '<|image|>'], 'w2 w3')).toBe(two);
});

describe('images of different sizes', () => {
  it('take as many tokens as each gives rows, where the processor counts those of the first', async () => {
    const text = '<|image_1|>\n<|image_2|>\nw2 w3';
    const counted = await elastic.processor!(text, [square, wide]);
    expect(imageTokensIn(counted)).toBe(2 * SQUARE);
    const said = vi.spyOn(console, 'error').mockImplementation(() => {});
    await expect(generate(stock, counted)).rejects.toThrow(
      /updates shape: \{44,64\}, indices shape: \{54,2\}/,
    );
    said.mockRestore();

    for (const images of [
      [square, wide],
      [wide, square],
    ]) {
      const inputs = await ask(images);
      expect(imageTokensIn(inputs)).toBe(SQUARE + WIDE);
      const expected = idsOf(await generate(stock, inputs));
      expect(idsOf(await generate(elastic.model, inputs, new ElasticCache({ budget: 1 })))).toEqual(expected);
    }
  });

  it('are seen once each over three turns', async () => {
    const cache = new ElasticCache({ budget: 1 });
    const vision: number[] = [];
    const session = elastic.model.sessions.vision_encoder;
    const encode = session.run;
    session.run = (feeds: Record<string, Tensor>, ...rest: []) => {
      vision.push(feeds.image_sizes!.dims[0]!);
      return encode.call(session, feeds, ...rest);
    };
    let inputs = await ask([square]);
    for (const next of [[wide], [square], []]) {
      const turn = await generate(elastic.model, inputs, cache);
      expect(idsOf(turn)).toEqual(idsOf(await generate(stock, inputs)));
      inputs = followedBy(inputs, turn, await ask(next, 'w7'));
    }
    expect(idsOf(await generate(elastic.model, inputs, cache))).toEqual(idsOf(await generate(stock, inputs)));
    session.run = encode;
    expect(vision).toEqual([1, 1, 1]);
  });
});

describe('where a text grows past the limit of the short tables (32 tokens here, 4,096 on the Hub)', () => {
  const words = (count: number) => Array.from({ length: count }, (_, i) => `w${3 * i}`).join(' ');

  it('gives the tokens of transformers.js while it answers', async () => {
    const inputs = await ask([], words(20));
    const length = inputs.input_ids.dims[1]!;
    expect(length).toBeLessThan(32);
    const expected = idsOf(await generate(stock, inputs, undefined, 20));
    expect(expected.length).toBe(length + 20);
    expect(idsOf(await generate(elastic.model, inputs, new ElasticCache({ budget: 1 }), 20))).toEqual(
      expected,
    );
  });

  it('gives in a later turn those of transformers.js going on from its cache', async () => {
    const first = await ask([], words(10));
    const { sequences, past_key_values } = (await stock.generate({
      ...first,
      max_new_tokens: 4,
      do_sample: false,
      return_dict_in_generate: true,
    } as never)) as unknown as { sequences: Tensor; past_key_values: ElasticCache };
    const second = followedBy(first, sequences, await ask([], words(20)));
    expect(first.input_ids.dims[1]! + 4).toBeLessThan(32);
    expect(second.input_ids.dims[1]).toBeGreaterThan(32);
    const cache = new ElasticCache({ budget: 1 });
    expect(idsOf(await generate(elastic.model, first, cache))).toEqual(idsOf(sequences));
    const expected = idsOf(await generate(stock, second, past_key_values, 12));
    expect(idsOf(await generate(elastic.model, second, cache, 12))).toEqual(expected);
  });
});

it('keeps what a budget says while positions go on', async () => {
  const inputs = await ask([square, wide]);
  const cache = new ElasticCache({ policy: 'elastic', budget: 0.2 });
  const positions = await positionsDuring(decoderOf(elastic.model), () =>
    generate(elastic.model, inputs, cache, 12),
  );
  const length = inputs.input_ids.dims[1]!;
  expect(positions.slice(1)).toEqual(Array.from({ length: 11 }, (_, i) => [BigInt(length + i)]));
  expect(cache.stats().tokensHeld).toBe(Math.floor(0.2 * (length + 11)));
});

it('reads a prompt once for several runs of a sweep', async () => {
  const loaded = await loadElastic(directory, { threads: 1 });
  const inputs = await ask([square]);
  const alone = idsOf(await generate(loaded.model, inputs));
  const shared = new SharedPrompts(loaded);
  const runs = await shared.during(async () => {
    const counts: number[] = [];
    for (let i = 0; i < 2; i++) {
      const cache = new ElasticCache({ policy: 'elastic', budget: 1 });
      const seen = await positionsDuring(decoderOf(loaded.model), async () => {
        expect(idsOf(await generate(loaded.model, inputs, cache))).toEqual(alone);
      });
      counts.push(seen.length);
    }
    return counts;
  });
  expect(runs).toEqual([4, 3]);
  await loaded.model.dispose();
});

describe('is refused in one sentence', () => {
  it.each(['<|image_1|>', '<|image_12|>'])('a prompt that holds %s', async (mark) => {
    for (const images of [[], [square]]) {
      await expect(ask(images, `${mark}\nw2`)).rejects.toThrow(
        `The prompt holds "${mark}", which stands for an image in this model's text; leave it out`,
      );
    }
  });

  it('the images of some turns only', async () => {
    const cache = new ElasticCache({ policy: 'elastic', budget: 0.5 });
    const first = await ask([square]);
    const output = await generate(elastic.model, first, cache);
    const turn = await ask([wide], 'w7');
    const second = followedBy(first, output, turn);
    for (const lacking of [
      { pixel_values: turn.pixel_values, image_sizes: turn.image_sizes },
      { pixel_values: turn.pixel_values },
    ]) {
      const conversation = { ...second, ...lacking, past_key_values: cache };
      const held = 'image_sizes' in lacking ? 1 : 2;
      await expect(elastic.model.generate(conversation)).rejects.toThrow(
        `The prompt has ${SQUARE + WIDE} image tokens, ${SQUARE} of them seen before, and image_sizes holds ${held} pictures, which does not fit; pass the images of the whole conversation.`,
      );
    }
  });

  it('a tokenizer without the image token', async () => {
    const other = join(directory, 'other');
    const family = FAMILIES['Phi-3.5-vision']!;
    const files = { ...family.files, 'tokenizer.json': FAMILIES.SmolVLM!.files['tokenizer.json']! };
    await writeTinyFamily(other, { ...family, files });
    const loaded = await loadElastic(other, { threads: 1 });
    await expect(prepareInputs(loaded, { images: [square], prompt: 'w2' })).rejects.toThrow(
      `The tokenizer has no "<|image|>", which stands for an image in this model's text; fetch its tokenizer.json again.`,
    );
    await loaded.model.dispose();
  });

  it('a dtype for a session that it does not have', async () => {
    await expect(loadElastic(directory, { dtype: { decoder_model_merged: 'q4' } })).rejects.toThrow(
      'dtype names "decoder_model_merged", which this model does not have; its sessions are: prepare_inputs_embeds, model, vision_encoder.',
    );
  });
});

it('opens each session in the dtype it is asked for', async () => {
  await copyFile(join(directory, 'onnx/model.onnx'), join(directory, 'onnx/model_q4f16.onnx'));
  const dtype = { model: 'q4f16', vision_encoder: 'fp32', prepare_inputs_embeds: 'fp32' } as const;
  await rm(join(directory, 'onnx/model.onnx'));
  const loaded = await loadElastic(directory, { dtype, threads: 1 });
  const inputs = await ask([square]);
  expect(idsOf(await generate(loaded.model, inputs))).toEqual(idsOf(await generate(stock, inputs)));
  await loaded.model.dispose();
  await copyFile(join(directory, 'onnx/model_q4f16.onnx'), join(directory, 'onnx/model.onnx'));
});

describe('on the command line', () => {
  it.each([
    ['generate', '--max-new-tokens', '3', '--json'],
    ['explain', '--json'],
  ])('%s takes it', async (command, ...options) => {
    const image = join(directory, 'image.png');
    await sharp({ create: { width: 20, height: 10, channels: 3, background: 'blue' } }).toFile(image);
    const question = ['--model', directory, '--prompt', 'w2 w3', '--image', image];
    const { stdout, code } = await run(command, ...question, ...options);
    expect(code).toBe(0);
    const { promptTokens, tokens, noGrid } = JSON.parse(stdout);
    expect(promptTokens ?? tokens.length).toBe(WIDE + 6);
    if (command === 'explain')
      expect(noGrid).toContain('into 2 x 2 tiles where its model takes them for 1 x 2');
  });

  it('inspect finds its decoder', async () => {
    const { stdout, code } = await run('inspect', directory);
    expect(code).toBe(0);
    expect(stdout).toContain('model.onnx can be rewritten.');
  });
});
