import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as transformers from '@huggingface/transformers';
import {
  cat,
  LogitsProcessor,
  LogitsProcessorList,
  type PreTrainedModel,
  type Tensor,
  TextStreamer,
} from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { type Inputs, prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import { decoderOf, followedBy, idsOf, positionsDuring } from '../families/family-runs.js';
import { TEXT_MODELS, writeTinyText } from './tiny-text.js';

type Stock = Record<string, { from_pretrained(id: string, options: object): Promise<PreTrainedModel> }>;

/** Longer than the windows of those that have some, with the prompt. */
const NEW = 24;
const PROMPT = 'w2 w3 w14 w5 w6 w17 w8 w9 w10 w31 w12 w13 w14';

describe.each(Object.entries(TEXT_MODELS))('%s', (name, tiny) => {
  const { dtype = 'fp32', tolerance = 1e-4 } = tiny;
  let directory: string;
  let stock: PreTrainedModel;
  let elastic: LoadedModel;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'text-'));
    await writeTinyText(directory, tiny);
    const { AutoModelForCausalLM } = transformers as unknown as Stock;
    stock = await AutoModelForCausalLM!.from_pretrained(directory, {
      dtype,
      local_files_only: true,
      model_file_name: tiny.file ?? 'model',
      session_options: { intraOpNumThreads: 1 },
    });
    elastic = await loadElastic(directory, { threads: 1, dtype });
  });
  afterAll(async () => {
    await stock.dispose();
    await elastic.model.dispose();
    await rm(directory, { recursive: true });
  });

  const ask = (prompt = PROMPT) => prepareInputs(elastic, { images: [], prompt });
  const generate = (model: PreTrainedModel, inputs: Inputs, past_key_values?: ElasticCache, options = {}) =>
    model.generate({
      ...inputs,
      max_new_tokens: NEW,
      do_sample: false,
      min_new_tokens: NEW,
      // Random weights would say one token for ever.
      no_repeat_ngram_size: 2,
      ...options,
      ...(past_key_values ? { past_key_values: past_key_values as never } : {}),
    }) as Promise<Tensor>;

  it('is the class of transformers.js, with a tokenizer and no processor', () => {
    expect(elastic.model).toBeInstanceOf((transformers as unknown as Record<string, never>)[tiny.className]!);
    expect(stock).toBeInstanceOf((transformers as unknown as Record<string, never>)[tiny.className]!);
    expect(elastic.processor).toBeUndefined();
    expect(elastic.model.generation_config).toEqual(stock.generation_config);
  });

  it('gives the tokens and logits of transformers.js', async () => {
    const inputs = await ask();
    const [expected, wanted] = await withLogits((options) => generate(stock, inputs, undefined, options));
    const cache = new ElasticCache({ budget: 1 });
    const [actual, logits] = await withLogits((options) => generate(elastic.model, inputs, cache, options));
    expect(actual).toEqual(expected);
    expect(new Set(expected.slice(-NEW)).size).toBeGreaterThan(8);
    expect(largestDistance(logits, wanted)).toBeLessThan(tolerance);
    expect(
      largestDistance([(await elastic.model(inputs)).logits], [(await stock(inputs)).logits]),
    ).toBeLessThan(tolerance);
  });

  it('gives the rows of a batch what each gets alone, streams, and goes on from its cache', async () => {
    const prompts = [await ask(), await ask(PROMPT.replaceAll('w1', 'w2'))];
    const both = {
      input_ids: cat(
        prompts.map(({ input_ids }) => input_ids),
        0,
      ),
      attention_mask: cat(
        prompts.map(({ attention_mask }) => attention_mask as Tensor),
        0,
      ),
    };
    const cache = new ElasticCache({ budget: 1 });
    const together = (await generate(elastic.model, both, cache)).tolist();
    if (name.endsWith('q8')) {
      // Activations of a whole batch are rounded by one scale there. Ours reads prompts one by one: the first token is what each gets alone.
      for (const [row, each] of prompts.entries()) {
        const alone = idsOf(await generate(stock, each));
        const length = each.input_ids.dims[1]! + 1;
        expect(together[row].slice(0, length).map(Number)).toEqual(alone.slice(0, length));
      }
    } else {
      expect(together).toEqual((await generate(stock, both)).tolist());
    }

    const streamed: number[] = [];
    const streamer = new TextStreamer(elastic.tokenizer, {
      callback_function: () => {},
      token_callback_function: (tokens) => streamed.push(...tokens.map(Number)),
    });
    const conversation = new ElasticCache({ budget: 1 });
    const first = await generate(elastic.model, prompts[0]!, conversation, { streamer });
    expect(streamed).toEqual(idsOf(first));
    const second = followedBy(prompts[0]!, first, await ask('w7 w8 w9'));
    expect(idsOf(await generate(elastic.model, second, conversation))).toEqual(
      idsOf(await generate(stock, second)),
    );
  });

  it('counts positions as transformers.js does after evictions, over two turns, and keeps a budget to the entry', async () => {
    const first = await ask();
    const cache = new ElasticCache({ budget: 0.2 });
    const run = async (model: PreTrainedModel, inputs: Inputs, past?: ElasticCache) => {
      let output: Tensor | undefined;
      const positions = await positionsDuring(decoderOf(model), async () => {
        output = await generate(model, inputs, past);
      });
      return { positions, output: output! };
    };
    const one = await run(elastic.model, first, cache);
    expect(one.positions).toHaveLength(NEW);
    expect(one.positions).toEqual((await run(stock, first)).positions);
    expect(cache.stats().tokensHeld).toBe(Math.floor(0.2 * cache.seen));
    const second = followedBy(first, one.output, await ask('w7 w8 w9'));
    const two = await run(elastic.model, second, cache);
    const [stockPrompt, ...stockSteps] = (await run(stock, second)).positions;
    const [fresh, ...steps] = two.positions;
    expect(steps).toEqual(stockSteps);
    expect(fresh).toEqual(stockPrompt!.slice(-fresh!.length));
    expect(fresh!.length).toBeLessThan(stockPrompt!.length);
    expect(cache.stats().tokensHeld).toBe(Math.floor(0.2 * cache.seen));
  });
});

/** Runs a generation, and keeps the logits of each of its steps. */
async function withLogits(run: (options: object) => Promise<Tensor>): Promise<[number[], Tensor[]]> {
  const steps: Tensor[] = [];
  class Watch extends LogitsProcessor {
    override _call(_ids: bigint[][], logits: Tensor) {
      steps.push(logits.clone());
      return logits;
    }
  }
  const logits_processor = new LogitsProcessorList();
  logits_processor.push(new Watch());
  return [idsOf(await run({ logits_processor })), steps];
}

function largestDistance(actual: readonly Tensor[], expected: readonly Tensor[]): number {
  expect(actual.map(({ dims }) => dims)).toEqual(expected.map(({ dims }) => dims));
  return Math.max(
    ...actual.flatMap(({ data }, step) =>
      // Of a token that may not be said both scores are -Infinity.
      Array.from(data as Float32Array, (score, i) => {
        const wanted: number = expected[step]!.data[i];
        return score === wanted ? 0 : Math.abs(score - wanted);
      }),
    ),
  );
}
