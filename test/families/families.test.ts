import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PreTrainedModel, Tensor } from '@huggingface/transformers';
import * as transformers from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { answer } from '../../src/models/conversation/answer.js';
import { chat } from '../../src/models/conversation/chat.js';
import { nextInputs } from '../../src/models/conversation/next-inputs.js';
import {
  type Inputs,
  prepareInputs,
  tokensAfterImage,
} from '../../src/models/conversation/prepare-inputs.js';
import { promptText } from '../../src/models/conversation/template/prompt-text.js';
import { imageTokenId } from '../../src/models/families/image-token.js';
import { imageTokensOf } from '../../src/models/families/registry.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { picture } from '../picture.js';
import { decoderOf, followedBy, idsOf, padded, positionsDuring, together } from './family-runs.js';
import { FAMILIES, writeTinyFamily } from './tiny-families.js';

type Stock = Record<string, { from_pretrained(id: string, options: object): Promise<PreTrainedModel> }>;

const NEW = 12;

const newTokensOf = (output: Tensor): number[][] =>
  output.tolist().map((row: bigint[]) => row.slice(-NEW).map(Number));

/** Classes whose pictures are rows of tiles or patches with sizes beside them, which are not told apart by prompt: those seen are left out for one. */
const ONE_PROMPT = /^(Qwen|Idefics3|SmolVLM|Phi3V)/;

describe.each(Object.entries(FAMILIES))('%s', (_name, family) => {
  let directory: string;
  let stock: PreTrainedModel;
  let elastic: LoadedModel;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'family-'));
    await writeTinyFamily(directory, family);
    // One thread: these models are so small that more of them only wait for each other.
    const session_options = { intraOpNumThreads: 1 };
    stock = await (transformers as unknown as Stock)[family.className]!.from_pretrained(directory, {
      dtype: 'fp32',
      local_files_only: true,
      session_options,
    });
    elastic = await loadElastic(directory, { threads: 1 });
  });
  afterAll(async () => {
    await stock.dispose();
    await elastic.model.dispose();
    await rm(directory, { recursive: true });
  });

  const ask = (seeds: number[], prompt = 'w2 w3 w14 w5') =>
    prepareInputs(elastic, { images: seeds.map(picture), prompt });
  const generate = (
    model: PreTrainedModel,
    inputs: Inputs,
    past_key_values?: ElasticCache,
    max_new_tokens = NEW,
  ) =>
    model.generate({
      ...inputs,
      max_new_tokens,
      do_sample: false,
      // Random weights would as soon say the token that stands for an image.
      suppress_tokens: [imageTokenId({ model: stock })],
      ...(past_key_values ? { past_key_values: past_key_values as never } : {}),
    }) as Promise<Tensor>;

  it('is the class of transformers.js', () => {
    expect(elastic.model).toBeInstanceOf(
      (transformers as unknown as Record<string, never>)[family.className]!,
    );
  });

  it.each([[[37]], [[37, 91]], [[]]])('gives the tokens of transformers.js for images %j', async (seeds) => {
    const inputs = await ask(seeds);
    const tokens = [...(inputs.input_ids.data as BigInt64Array)];
    expect(tokens.filter(imageTokensOf(elastic.model)!)).toHaveLength(family.imageTokensOf(seeds.length));
    expect(tokens).not.toContain(0n);
    const expected = idsOf(await generate(stock, inputs));
    expect(idsOf(await generate(elastic.model, inputs, new ElasticCache({ budget: 1 })))).toEqual(expected);
    if (seeds.length > 0) {
      const { logits } = await stock(inputs);
      const other = await stock(await ask(seeds.with(-1, 5)));
      expect(other.logits.data).not.toEqual(logits.data);
    }
  });

  it('gives prompts of unequal length in one padded batch the tokens that each gets alone', async () => {
    const prompts = [await ask([37]), await ask([91], 'w2 w3 w14 w5 w7 w8 w9 w2 w11')];
    for (const budget of [1, 0.5]) {
      const both = await generate(elastic.model, together(padded(prompts)), new ElasticCache({ budget }));
      for (const [row, prompt] of prompts.entries()) {
        const alone = await generate(elastic.model, prompt, new ElasticCache({ budget }));
        expect(newTokensOf(both)[row]).toEqual(newTokensOf(alone)[0]);
      }
    }
  });

  it('goes on from its cache, with text and with an image in the second turn', async () => {
    const first = await ask([37]);
    for (const seeds of [[], [91]]) {
      const cache = new ElasticCache({ budget: 1 });
      const turn = await generate(elastic.model, first, cache);
      const second = followedBy(first, turn, await ask(seeds, 'w7 w8 w9'));
      const expected = idsOf(await generate(stock, second));
      expect(idsOf(await generate(elastic.model, second, cache))).toEqual(expected);
    }
  });

  it('chats as if each turn were read anew, with images in the first and in the third', async () => {
    const system = 'w60';
    const longest = 2;
    const conversation = chat(elastic, { cache: new ElasticCache({ budget: 1 }), system });
    let inputs: Inputs | undefined;
    let said: number[] = [];
    for (const [seeds, prompt] of [
      [[37], 'w2 w3'],
      [[], 'w7 w8 w9'],
      [[91, 5], 'w4'],
    ] as const) {
      const question = { images: seeds.map(picture), prompt };
      inputs = inputs
        ? await nextInputs(elastic, inputs, { tokens: said, rest: '' }, question)
        : await prepareInputs(elastic, { ...question, system });
      const known = conversation.tokens.length;
      for await (const event of conversation.ask({ ...question, maxNewTokens: longest })) {
        // Only the last token of an answer has not been run.
        if (event.type === 'usage') expect(event.usage.cachedTokens).toBe(Math.max(0, known - 1));
        if (event.type === 'finish') expect(event.reason).toBe('length');
      }
      const tokens = idsOf(await generate(stock, inputs, undefined, longest));
      expect(conversation.tokens).toEqual(tokens);
      said = tokens.slice(-longest);
    }
  });

  it('goes on with images of two prompts at once, or says that it takes one at a time', async () => {
    const prompts = [await ask([1], 'w2 w3'), await ask([2], 'w4 w5')];
    const turns = [await ask([3, 4], 'w7'), await ask([5, 6], 'w8')];
    const cache = new ElasticCache({ budget: 1 });
    const one = await generate(elastic.model, together(prompts), cache);
    const rows = prompts.map((_, row) => one.slice([row, row + 1]));
    const seconds = rows.map((row, i) => followedBy(prompts[i]!, row, turns[i]!));
    const { pixel_values } = together(turns);
    await expect(generate(elastic.model, { ...together(seconds), pixel_values }, cache)).rejects.toThrow(
      /pass the images of the whole conversation|one prompt at a time/,
    );
    const two = generate(elastic.model, together(seconds), cache);
    if (ONE_PROMPT.test(family.className)) {
      await expect(two).rejects.toThrow(/^This model takes images in a later turn of one prompt at a time/);
      return;
    }
    const alone: number[][] = [];
    for (const second of seconds) alone.push(idsOf(await generate(elastic.model, second)));
    expect((await two).tolist().map((row: bigint[]) => row.map(Number))).toEqual(alone);
  });

  /** New tokens of a second turn of each prompt alone, on a cache that has seen its first. */
  const eachAlone = async (prompts: Inputs[], seconds: Inputs[]) => {
    const tokens: number[][] = [];
    for (const [i, first] of prompts.entries()) {
      const cache = new ElasticCache({ budget: 1 });
      await generate(elastic.model, first, cache);
      tokens.push(idsOf(await generate(elastic.model, seconds[i]!, cache)).slice(-NEW));
    }
    return tokens;
  };

  it('goes on with the first images of two prompts at once', async () => {
    const prompts = [await ask([], 'w2 w3'), await ask([], 'w4 w5')];
    const turns = [await ask([3], 'w7'), await ask([5], 'w8')];
    const cache = new ElasticCache({ budget: 1 });
    const one = await generate(elastic.model, together(prompts), cache);
    const seconds = turns.map((turn, i) => followedBy(prompts[i]!, one.slice([i, i + 1]), turn));
    const two = await generate(elastic.model, together(seconds), cache);
    expect(newTokensOf(two)).toEqual(await eachAlone(prompts, seconds));
  });

  it('goes on with new tokens alone of two prompts at once, unless its positions follow from all', async () => {
    const prompts = [await ask([1], 'w2 w3'), await ask([2], 'w4 w5')];
    const turns = [await ask([3], 'w7'), await ask([5], 'w8')];
    const cache = new ElasticCache({ budget: 1 });
    const one = await generate(elastic.model, together(prompts), cache);
    const seconds = turns.map((turn, i) => followedBy(prompts[i]!, one.slice([i, i + 1]), turn));
    const { attention_mask, input_ids } = together(seconds);
    const fresh = input_ids.slice(null, [cache.seen, input_ids.dims[1]!]);
    const two = generate(elastic.model, { ...together(turns), input_ids: fresh, attention_mask }, cache);
    if (family.className.startsWith('Qwen')) {
      await expect(two).rejects.toThrow(/are \d+ new tokens alone, .*; pass the whole conversation\.$/);
      return;
    }
    expect(newTokensOf(await two)).toEqual(await eachAlone(prompts, seconds));
  });

  it('hands its decoder the positions of transformers.js after evictions, over two turns', async () => {
    const first = await ask([37]);
    // One that reads a prompt in one pass, as transformers.js does.
    const cache = new ElasticCache({ policy: 'elastic', budget: 0.2 });
    const run = async (model: PreTrainedModel, inputs: Inputs, past?: ElasticCache) => {
      let output: Tensor | undefined;
      const positions = await positionsDuring(decoderOf(model), async () => {
        output = await generate(model, inputs, past);
      });
      return { positions, output: output! };
    };
    const one = await run(elastic.model, first, cache);
    const stockOne = await run(stock, first);
    expect(one.positions).toHaveLength(NEW);
    expect(cache.stats().tokensHeld).toBe(Math.max(cache.policy.minimum, Math.floor(0.2 * cache.seen)));
    expect(one.positions).toEqual(stockOne.positions);
    const second = followedBy(first, one.output, await ask([91], 'w7 w8 w9'));
    const two = await run(elastic.model, second, cache);
    const stockTwo = await run(stock, second);
    expect(two.positions.slice(1)).toEqual(stockTwo.positions.slice(1));
    const rows = family.config.vision_config ? 3 : 1;
    const last = (flat: bigint[], count: number) =>
      Array.from({ length: rows }, (_, row) => flat.slice(0, (flat.length / rows) * (row + 1)).slice(-count));
    expect(last(two.positions[0]!, two.positions[0]!.length / rows)).toEqual(
      last(stockTwo.positions[0]!, two.positions[0]!.length / rows),
    );
    expect(cache.stats().tokensHeld).toBe(Math.floor(0.2 * cache.seen));
  });

  it('answers a question', async () => {
    const cache = new ElasticCache({ policy: 'elastic', budget: 0.5 });
    const question = { images: [picture(37), picture(91)], prompt: 'w2 w3' };
    const { tokens, promptTokens } = await answer(elastic, question, { cache, maxNewTokens: 4 });
    expect(tokens).toHaveLength(4);
    const after = tokensAfterImage(elastic, await prepareInputs(elastic, question));
    expect(after).toBeGreaterThanOrEqual(2);
    expect(after).toBeLessThan(promptTokens / 2);
  });
});

describe('the inputs for one image', () => {
  it.each(['LLaVA-1.5', 'Qwen2-VL', 'Gemma 3', 'Phi-3.5-vision'])(
    'of %s are those of its processor in transformers.js',
    async (name) => {
      const directory = await mkdtemp(join(tmpdir(), 'family-'));
      await writeTinyFamily(directory, FAMILIES[name]!);
      const elastic = await loadElastic(directory, { threads: 1 });
      const processor = elastic.processor!;
      const actual = await prepareInputs(elastic, { images: [picture(37)], prompt: 'w2 w3' });
      const text = promptText(elastic, 1, 'w2 w3');
      if (name === 'LLaVA-1.5') processor.config.num_additional_image_tokens = 0;
      const expected =
        name === 'LLaVA-1.5'
          ? await processor(picture(37), text)
          : await processor(text.replace('<|image|>', '<|image_1|>'), picture(37), {
              add_special_tokens: false,
            });
      for (const part of ['input_ids', 'attention_mask', 'pixel_values']) {
        const [a, b] = [actual, expected].map((inputs) => inputs[part] as Tensor);
        expect(a!.dims).toEqual(b!.dims);
        // Millions of them: what shows differences takes seconds.
        expect((a!.data as Float32Array).findIndex((value, i) => value !== b!.data[i])).toBe(-1);
      }
      expect(actual.image_grid_thw).toEqual(expected.image_grid_thw);
      expect(actual.image_sizes).toEqual(expected.image_sizes);
      await elastic.model.dispose();
      await rm(directory, { recursive: true });
    },
  );
});

it('takes the default of the several chat templates that a tokenizer may have', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'family-'));
  await writeTinyFamily(directory, FAMILIES['LLaVA-OneVision']!);
  const elastic = await loadElastic(directory, { threads: 1 });
  const { tokenizer } = elastic;
  const text = promptText(elastic, 1, 'w2 w3');
  tokenizer.chat_template = { default: tokenizer.chat_template, tool_use: 'another' };
  expect(promptText(elastic, 1, 'w2 w3')).toBe(text);
  await elastic.model.dispose();
  await rm(directory, { recursive: true });
});
