import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  cat,
  LlavaForConditionalGeneration,
  LogitsProcessor,
  LogitsProcessorList,
  type PreTrainedModel,
  random,
  StoppingCriteria,
  Tensor,
  TextStreamer,
} from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { picture } from '../picture.js';
import { IMAGE_TOKENS, SHAPE, writeTinyLlava } from './tiny-llava.js';

const WORDS = 'w2 w3 w44 w5 w6 w17 w8 w9 w10 w71 w12 w13 w14 w35 w16';

let directory: string;
let stock: PreTrainedModel;
let elastic: LoadedModel;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tiny-llava-'));
  await writeTinyLlava(directory);
  stock = await LlavaForConditionalGeneration.from_pretrained(directory, {
    dtype: 'fp32',
    local_files_only: true,
  });
  elastic = await loadElastic(directory);
});

afterAll(async () => {
  await stock.dispose();
  await elastic.model.dispose();
  await rm(directory, { recursive: true });
});

async function prompt(seed = 37, words = WORDS) {
  return await elastic.processor!(picture(seed), `<s> <image> ${words}`);
}

function ids(output: unknown): number[][] {
  return (output as Tensor).tolist().map((row: bigint[]) => row.map(Number));
}

/** The largest distance between two tensors' numbers. */
function distance(a: Tensor, b: Tensor): number {
  expect(a.dims).toEqual(b.dims);
  return a.data.reduce(
    (most: number, value: number, i: number) => Math.max(most, Math.abs(value - b.data[i])),
    0,
  );
}

describe('budget 1', () => {
  it('is a transformers.js model of its class', () => {
    expect(elastic.model).toBeInstanceOf(LlavaForConditionalGeneration);
  });

  it('gives the tokens of the unmodified model, with a cache and without', async () => {
    const inputs = await prompt();
    const expected = ids(await stock.generate({ ...inputs, max_new_tokens: 64 }));
    expect(expected[0]).toHaveLength(1 + IMAGE_TOKENS + 15 + 64);
    expect(ids(await elastic.model.generate({ ...inputs, max_new_tokens: 64 }))).toEqual(expected);
    const cache = new ElasticCache({ budget: 1 });
    const output = await elastic.model.generate({ ...inputs, max_new_tokens: 64, past_key_values: cache });
    expect(ids(output)).toEqual(expected);
    expect(cache.seen).toBe(expected[0]!.length - 1);
  });

  it('gives its logits, for every token of a prompt', async () => {
    const inputs = await prompt();
    const expected = await stock(inputs);
    const { logits } = await elastic.model(inputs);
    expect(distance(logits, expected.logits)).toBeLessThan(1e-3);
  });

  it('gives its logits at every step of a generation', async () => {
    const inputs = await prompt();
    const steps = async (model: PreTrainedModel, options = {}) => {
      const seen: Tensor[] = [];
      class Watch extends LogitsProcessor {
        override _call(_ids: bigint[][], logits: Tensor) {
          seen.push(logits.clone());
          return logits;
        }
      }
      const logits_processor = new LogitsProcessorList();
      logits_processor.push(new Watch());
      await model.generate({ ...inputs, max_new_tokens: 64, logits_processor, ...options });
      return seen;
    };
    const expected = await steps(stock);
    const actual = await steps(elastic.model, { past_key_values: new ElasticCache({ budget: 1 }) });
    expect(actual).toHaveLength(64);
    expect(Math.max(...actual.map((logits, i) => distance(logits, expected[i]!)))).toBeLessThan(1e-3);
  });

  it('gives its tokens for a batch of two', async () => {
    const inputs = await elastic.processor!(
      [picture(37), picture(91)],
      [`<s> <image> ${WORDS}`, `<s> <image> ${WORDS.replaceAll('w1', 'w2')}`],
    );
    const expected = ids(await stock.generate({ ...inputs, max_new_tokens: 32 }));
    expect(expected[0]!.slice(-32)).not.toEqual(expected[1]!.slice(-32));
    const past_key_values = new ElasticCache({ budget: 1 });
    expect(ids(await elastic.model.generate({ ...inputs, max_new_tokens: 32, past_key_values }))).toEqual(
      expected,
    );
  });

  it('samples what the unmodified model samples, with a logits processor', async () => {
    const inputs = await prompt();
    const options = {
      ...inputs,
      max_new_tokens: 24,
      do_sample: true,
      temperature: 1.5,
      top_k: 20,
      repetition_penalty: 1.2,
    };
    random.seed(5);
    const expected = ids(await stock.generate(options));
    random.seed(5);
    const past_key_values = new ElasticCache({ budget: 1 });
    expect(ids(await elastic.model.generate({ ...options, past_key_values }))).toEqual(expected);
  });
});

describe('a small budget', () => {
  it('is held to at every step', async () => {
    const inputs = await prompt();
    const cache = new ElasticCache({ budget: 0.2 });
    const held: number[] = [];
    const wanted: number[] = [];
    const streamer = new TextStreamer(elastic.tokenizer, { callback_function: () => {} });
    const put = streamer.put.bind(streamer);
    streamer.put = (tokens) => {
      if (cache.seen > 0) {
        held.push(...cache.stats().layers.map(({ tokensHeld }) => tokensHeld));
        const allowed = Math.max(cache.policy.minimum, Math.floor(0.2 * cache.seen));
        wanted.push(...Array.from({ length: SHAPE.layers }, () => allowed));
      }
      put(tokens);
    };
    await elastic.model.generate({ ...inputs, max_new_tokens: 64, past_key_values: cache, streamer });
    expect(held).toHaveLength(64 * SHAPE.layers);
    expect(held).toEqual(wanted);
    const { layers, kvHeads, headDim } = SHAPE;
    const bytesPerToken = layers * kvHeads * headDim * 2 * 4;
    expect(cache.stats()).toMatchObject({
      tokensSeen: 95,
      tokensHeld: 19,
      bytesHeld: 19 * bytesPerToken,
      bytesFull: 95 * bytesPerToken,
    });
  });

  it.each([7, 64, 512])('gives the same result in chunks of %i tokens', async (chunk) => {
    const words = Array.from({ length: 150 }, (_, i) => `w${(i * 31) % 90}`).join(' ');
    const inputs = await prompt(37, words);
    const run = async ({ model }: LoadedModel) => {
      const cache = new ElasticCache({ budget: 0.2 });
      const output = await model.generate({ ...inputs, max_new_tokens: 16, past_key_values: cache });
      return { tokens: ids(output), entries: cache.entries(1) };
    };
    const whole = await run(await loadElastic(directory, { chunk: 1000 }));
    const chunked = await run(await loadElastic(directory, { chunk }));
    expect(chunked.tokens).toEqual(whole.tokens);
    expect(chunked.entries.positions).toEqual(whole.entries.positions);
    expect(chunked.entries.counts).toEqual(whole.entries.counts);
    const distances = chunked.entries.keys.map((value, i) => Math.abs(value - whole.entries.keys[i]!));
    expect(Math.max(...distances)).toBeLessThan(1e-4);
  });

  it('gives every logit of a chunked prompt when all are asked for', async () => {
    const inputs = await prompt();
    const { model } = await loadElastic(directory, { chunk: 7 });
    expect(distance((await model(inputs)).logits, (await stock(inputs)).logits)).toBeLessThan(1e-3);
  });

  it('keeps two generations at the same time apart', async () => {
    const inputs = [await prompt(37), await prompt(91, 'w1 w2 w3')];
    const run = (i: number) =>
      elastic.model.generate({
        ...inputs[i],
        max_new_tokens: 24,
        past_key_values: new ElasticCache({ budget: 0.3 }),
      });
    const alone = [ids(await run(0)), ids(await run(1))];
    expect((await Promise.all([run(0), run(1)])).map(ids)).toEqual(alone);
  });

  it('refuses one cache in two generations at the same time', async () => {
    const inputs = await prompt();
    const past_key_values = new ElasticCache();
    const run = () => elastic.model.generate({ ...inputs, max_new_tokens: 8, past_key_values });
    const outcomes = await Promise.allSettled([run(), run()]);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused[0]?.reason.message).toMatch(/in use by another generate|has moved on/);
  });
});

describe('the rest of generate()', () => {
  it('streams text and stops when told', async () => {
    const inputs = await prompt();
    let text = '';
    const streamer = new TextStreamer(elastic.tokenizer, {
      skip_prompt: true,
      callback_function: (part: string) => {
        text += part;
      },
    });
    class FiveTokens extends StoppingCriteria {
      override _call(rows: number[][]) {
        return rows.map((row) => row.length >= inputs.input_ids.dims[1] + 5);
      }
    }
    const past_key_values = new ElasticCache();
    const output = await elastic.model.generate({
      ...inputs,
      max_new_tokens: 64,
      past_key_values,
      streamer,
      stopping_criteria: new FiveTokens(),
    });
    const fresh = ids(output)[0]!.slice(inputs.input_ids.dims[1]);
    expect(fresh).toHaveLength(5);
    expect(text.trim()).toBe(elastic.tokenizer.decode(fresh).trim());
  });

  it('refuses a prompt of no tokens, before anything is run', async () => {
    const input_ids = new Tensor('int64', new BigInt64Array(0), [1, 0]);
    const cache = new ElasticCache();
    await elastic.model.generate({ ...(await prompt()), max_new_tokens: 2, past_key_values: cache });
    const { seen } = cache;
    const attention_mask = new Tensor('int64', new BigInt64Array(seen).fill(1n), [1, seen]);
    const cases = [
      { input_ids, attention_mask: input_ids },
      { input_ids, attention_mask: input_ids, past_key_values: new ElasticCache() },
      { input_ids, attention_mask, past_key_values: cache },
      { inputs_embeds: new Tensor('float32', [], [1, 0, 64]), attention_mask: input_ids },
    ];
    for (const inputs of cases) {
      await expect(elastic.model.generate({ ...inputs, max_new_tokens: 2 })).rejects.toMatchObject({
        code: 'invalid-prompt',
        message: expect.stringMatching(
          /^There are no tokens to run \(.* shape \[1, 0.*\]\); pass at least one.$/,
        ),
      });
    }
    expect(cache.seen).toBe(seen);
  });

  it.each([
    ['full', 1],
    ['snapkv', 0.3],
    ['elastic-plus', 0.3],
    ['h2o', 0.5],
  ] as const)('gives prompts padded to one length what each gets alone: %s at %d', async (policy, budget) => {
    const inputs = [await prompt(37), await prompt(5, 'w2 w3 w4'), await prompt(11, 'w7 w8')];
    const max_new_tokens = 10;
    const alone: number[][] = [];
    for (const each of inputs) {
      const past_key_values = new ElasticCache({ policy, budget });
      alone.push(ids(await elastic.model.generate({ ...each, max_new_tokens, past_key_values }))[0]!);
    }
    const rows = inputs.map(({ input_ids }) => ids(input_ids)[0]!);
    const longest = Math.max(...rows.map((row) => row.length));
    const padded = (make: (row: number[], at: number) => number) =>
      new Tensor(
        'int64',
        BigInt64Array.from(
          rows.flatMap((row) =>
            Array.from({ length: longest }, (_, i) => BigInt(make(row, i - longest + row.length))),
          ),
        ),
        [rows.length, longest],
      );
    const output = await elastic.model.generate({
      input_ids: padded((row, at) => row[at] ?? 0),
      attention_mask: padded((_, at) => (at < 0 ? 0 : 1)),
      pixel_values: cat(
        inputs.map(({ pixel_values }) => pixel_values),
        0,
      ),
      max_new_tokens,
      past_key_values: new ElasticCache({ policy, budget }),
    });
    const padding = new Tensor('int64', [0n, 0n], [1, 2]);
    const single = await elastic.model.generate({
      ...inputs[0]!,
      input_ids: cat([padding, inputs[0]!.input_ids], 1),
      attention_mask: cat([padding, inputs[0]!.attention_mask], 1),
      max_new_tokens,
      past_key_values: new ElasticCache({ policy, budget }),
    });
    expect(ids(single)[0]!.slice(2)).toEqual(alone[0]);
    expect(ids(output).map((row, i) => row.slice(longest - rows[i]!.length))).toEqual(alone);
  });
});
