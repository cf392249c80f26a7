import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticCache } from '../../src/elastic-cache.js';
import { answer } from '../../src/models/conversation/answer.js';
import { type ChatEvent, chat } from '../../src/models/conversation/chat.js';
import { prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { loadElastic } from '../../src/models/load.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import type { PolicyName } from '../../src/policies/registry.js';
import { writeTinyLlava } from './tiny-llava.js';

const LONGEST = 64;

let root: string;
/** One whose config says how long a text may be, and one whose tables of rotation end there, which alone say so. */
let told: LoadedModel;
let silent: LoadedModel;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'elastic-cache-ends-'));
  await writeTinyLlava(join(root, 'told'));
  const path = join(root, 'told/config.json');
  const config = JSON.parse(await readFile(path, 'utf8'));
  config.text_config.max_position_embeddings = LONGEST;
  await writeFile(path, JSON.stringify(config));
  told = await loadElastic(join(root, 'told'), { threads: 1 });
  await writeTinyLlava(join(root, 'silent'), { longest: LONGEST });
  silent = await loadElastic(join(root, 'silent'), { threads: 1 });
});

afterAll(async () => {
  for (const { model } of [told, silent]) await model.dispose();
  await rm(root, { recursive: true });
});

async function all(events: AsyncIterable<ChatEvent>): Promise<ChatEvent[]> {
  const list: ChatEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

/** Leaves a model without a token that ends a text, until the result is called. */
function endless({ tokenizer }: LoadedModel): () => void {
  const { eos_token } = tokenizer;
  tokenizer.eos_token = '';
  return () => {
    tokenizer.eos_token = eos_token;
  };
}

describe('a text that reaches the longest of its model', () => {
  const POLICIES: [PolicyName, number | { tokens: number }][] = [
    ['full', 1],
    ['elastic', 0.2],
    ['local', { tokens: 16 }],
  ];

  it.each(POLICIES)('is answered as far as it goes, with %s at %j', async (policy, budget) => {
    for (const loaded of [told, silent]) {
      const restore = endless(loaded);
      const cache = new ElasticCache({ policy, budget });
      const said = await answer(loaded, { prompt: 'w1 '.repeat(50) }, { cache, maxNewTokens: 200 });
      restore();
      expect(said.finishReason).toBe('length');
      // The last token is told and never read.
      expect(said.promptTokens + said.tokens.length).toBe(LONGEST + 1);
      expect(said.text).not.toBe('');
    }
  });

  it('ends generate() as well', async () => {
    const inputs = await prepareInputs(told, { prompt: 'w1 '.repeat(50) });
    const output = (await told.model.generate({ ...inputs, max_new_tokens: 200 })) as Tensor;
    expect(output.dims[1]).toBe(LONGEST + 1);
  });

  it('is refused where the prompt alone is longer, whatever a cache would keep of it', async () => {
    const cache = new ElasticCache({ policy: 'local', budget: { tokens: 16 } });
    const asked = answer(told, { prompt: 'w1 '.repeat(70) }, { cache, maxNewTokens: 4 });
    await expect(asked).rejects.toMatchObject({
      code: 'context-full',
      message: expect.stringMatching(/^The text has \d+ tokens and this model takes 64 at most/),
    });
    expect(cache.seen).toBe(0);
  });

  it('is refused by the same code where only the decoder knows, and in a later turn, which leaves the conversation as it was', async () => {
    const long = { prompt: 'w1 '.repeat(70) };
    const full = {
      code: 'context-full',
      message: expect.stringMatching(/^The text has \d+ tokens and this/),
    };
    const inputs = await prepareInputs(silent, long);
    await expect(silent.model.generate({ ...inputs, max_new_tokens: 4 })).rejects.toMatchObject(full);
    for (const loaded of [told, silent]) {
      const { ask, cache, tokens } = chat(loaded, { cache: new ElasticCache({ budget: 0.5 }) });
      await expect(all(ask({ ...long, maxNewTokens: 4 }))).rejects.toMatchObject(full);
      expect([cache.seen, tokens.length]).toEqual([0, 0]);
      await all(ask({ prompt: 'w1 '.repeat(30), maxNewTokens: 4 }));
      const { seen } = cache;
      await expect(all(ask({ prompt: 'w1 '.repeat(40), maxNewTokens: 4 }))).rejects.toMatchObject(full);
      expect(cache.seen).toBe(seen);
      expect((await all(ask({ prompt: 'w1', maxNewTokens: 4 }))).at(-1)?.type).toBe('finish');
    }
  });
});

it('the end token of the tokenizer ends an answer, though no settings name it', async () => {
  const cache = () => new ElasticCache({ policy: 'full', budget: 1 });
  const question = { prompt: 'w1 w2' };
  const restore = endless(silent);
  const long = await answer(silent, question, { cache: cache(), maxNewTokens: 20 });
  restore();
  const { eos_token } = silent.tokenizer;
  silent.tokenizer.eos_token = silent.tokenizer.decode([long.tokens[3]!]);
  const short = await answer(silent, question, { cache: cache(), maxNewTokens: 20 });
  silent.tokenizer.eos_token = eos_token;
  expect(short.tokens).toEqual(long.tokens.slice(0, long.tokens.indexOf(long.tokens[3]!) + 1));
  expect(short.finishReason).toBe('stop');
});
