import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tensor } from '@huggingface/transformers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  answer,
  type ChatEvent,
  type ChatQuestion,
  chat,
  ElasticCache,
  type ElasticCacheError,
  type LoadedModel,
  loadElastic,
  prepareInputs,
  readImage,
} from '../../src/index.js';
import { picture } from '../picture.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';

const demo = new URL('../../demo-model/', import.meta.url).pathname;
const sample = (name: string) => readImage(`${demo}samples/${name}.png`);
const PROMPT = 'Describe the image in detail.';

/** The embedded model, for what is said, and one with random weights, for whatever it says. */
let embedded: LoadedModel;
let scene: ChatQuestion['images'];
let loaded: LoadedModel;
let directory: string;
const images = [picture(37)];
const WORDS = 'w2 w3 w44 w5 w6 w17';
/** Of a first turn with an image. */
let PROMPT_TOKENS = 0;

beforeAll(async () => {
  embedded = await loadElastic(`${demo}llava-scenes`);
  scene = [await sample('01')];
  directory = await mkdtemp(join(tmpdir(), 'tiny-llava-'));
  await writeTinyLlava(directory);
  loaded = await loadElastic(directory, { chunk: 32 });
  PROMPT_TOKENS = (await prepareInputs(loaded, { images, prompt: WORDS })).input_ids.dims[1]!;
});
afterAll(async () => {
  await embedded.model.dispose();
  await loaded.model.dispose();
  await rm(directory, { recursive: true });
});

const newCache = (budget = 1) => new ElasticCache({ policy: 'elastic-plus', budget });

async function all(events: AsyncIterable<ChatEvent>): Promise<ChatEvent[]> {
  const list: ChatEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

const textOf = (events: readonly ChatEvent[]) =>
  events.map((event) => (event.type === 'text' ? event.text : '')).join('');
const finishOf = (events: readonly ChatEvent[]) => {
  const last = events.at(-1);
  if (last?.type !== 'finish') throw new Error('the turn has no end');
  return last;
};
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: ElasticCacheError) => error.code,
  );

describe('a turn', () => {
  it('tells text piece by piece, then what it cost, then how it ended', async () => {
    const { ask, cache } = chat(embedded, { cache: newCache() });
    const events = await all(ask({ images: scene, prompt: PROMPT, maxNewTokens: 12 }));
    const types = events.map(({ type }) => type);
    // A piece for a word or less, as soon as it is known.
    expect(types.filter((type) => type === 'text').length).toBeGreaterThan(6);
    expect(types.slice(types.lastIndexOf('text') + 1)).toEqual(['usage', 'finish']);
    const finish = finishOf(events);
    expect(finish).toMatchObject({ reason: 'length', text: textOf(events) });
    expect(finish.text).toMatch(/^The picture shows \d/);
    expect(events.at(-2)).toMatchObject({
      usage: { promptTokens: cache.seen - 11, cachedTokens: 0, newTokens: 12, stats: cache.stats() },
    });
  });

  it('ends where the model ends it, without the token that says so', async () => {
    const { ask } = chat(embedded, { cache: newCache() });
    const finish = finishOf(await all(ask({ images: scene, prompt: 'How many objects are there?' })));
    expect(finish).toMatchObject({ reason: 'stop', text: expect.stringMatching(/^\d+$/) });
  });

  it('ends at a stop string across tokens, and the text is what comes before it', async () => {
    const whole = finishOf(
      await all(
        chat(embedded, { cache: newCache() }).ask({ images: scene, prompt: PROMPT, maxNewTokens: 30 }),
      ),
    ).text;
    // From the middle of a word to the middle of the next but one.
    const stop = whole.slice(30, 44);
    const conversation = chat(embedded, { cache: newCache() });
    const events = await all(conversation.ask({ images: scene, prompt: PROMPT, stop: ['none', stop] }));
    expect(finishOf(events)).toEqual({
      type: 'finish',
      reason: 'stop-string',
      text: whole.slice(0, 30).trimEnd(),
    });
    expect(textOf(events)).toBe(whole.slice(0, 30).trimEnd());
    // The conversation goes on.
    expect(finishOf(await all(conversation.ask({ prompt: 'How many objects are there?' }))).reason).toBe(
      'stop',
    );
  });

  it('goes on from what was shown before a stop string: the cache has read no token of it', async () => {
    const whole = chat(loaded, { cache: newCache() });
    const settings = { images, prompt: WORDS, maxNewTokens: 12 };
    const said = finishOf(await all(whole.ask(settings))).text;
    const tokens = whole.tokens.slice(PROMPT_TOKENS);
    for (const policy of ['full', 'snapkv', 'elastic-plus'] as const) {
      const words = said.split(' ');
      // From the midst of a word to that of the next but one; and a whole word.
      for (const stop of [`${words[4]!.slice(1)} ${words[5]} ${words[6]!.slice(0, 1)}`, words[5]!]) {
        const cache = new ElasticCache({ policy, budget: 1 });
        const stopped = chat(loaded, { cache });
        const finish = finishOf(await all(stopped.ask({ ...settings, stop })));
        expect(finish).toMatchObject({
          reason: 'stop-string',
          text: said.slice(0, said.indexOf(stop)).trim(),
        });
        const kept = stopped.tokens.slice(PROMPT_TOKENS);
        expect(kept).toEqual(tokens.slice(0, kept.length));
        expect(kept.length).toBeLessThan(6);
        // The next turn reads the rest of the word and what it asks, and says what it would if all were read at once.
        const events = await all(stopped.ask({ prompt: 'w9', maxNewTokens: 4 }));
        const turn = stopped.tokens.slice(0, -3);
        const anew = new ElasticCache({ policy: 'full', budget: 1 });
        const inputs = {
          ...(await prepareInputs(loaded, { images, prompt: WORDS })),
          input_ids: new Tensor('int64', turn.map(BigInt), [1, turn.length]),
          attention_mask: new Tensor(
            'int64',
            turn.map(() => 1n),
            [1, turn.length],
          ),
        };
        const output = await loaded.model.generate({ ...inputs, past_key_values: anew, max_new_tokens: 3 });
        expect((output.tolist() as bigint[][])[0]!.map(Number)).toEqual(stopped.tokens);
        expect(events.at(-1)?.type).toBe('finish');
      }
    }
  });

  it('refuses what makes no sense, and the conversation is as it was', async () => {
    const conversation = chat(embedded, { cache: newCache() });
    for (const wrong of [
      { maxNewTokens: Number.NaN },
      { temperature: -1 },
      { topP: 2 },
      { seed: 0.5 },
      { stop: [''] },
    ]) {
      expect(await failure(all(conversation.ask({ images: scene, prompt: PROMPT, ...wrong })))).toBe(
        'invalid-option',
      );
    }
    expect(await failure(all(conversation.ask({ images: scene, prompt: 'What is <image>?' })))).toBe(
      'invalid-prompt',
    );
    expect([conversation.tokens.length, conversation.cache.seen]).toEqual([0, 0]);
  });
});

describe('signals', () => {
  it('end an answer in its midst, and the conversation goes on from there as if it had been that long', async () => {
    const stopped = new AbortController();
    const first = chat(loaded, { cache: newCache() });
    const events: ChatEvent[] = [];
    for await (const event of first.ask({
      images,
      prompt: WORDS,
      signal: stopped.signal,
      maxNewTokens: 40,
    })) {
      if (event.type === 'text' && events.push(event) === 7) stopped.abort();
    }
    const second = chat(loaded, { cache: newCache() });
    const maxNewTokens = first.cache.seen - PROMPT_TOKENS + 1;
    const short = await all(second.ask({ images, prompt: WORDS, maxNewTokens }));
    expect(textOf(events)).toBe(textOf(short));
    expect(first.tokens).toEqual(second.tokens);
    const next = { prompt: 'w7 w8', maxNewTokens: 4 };
    expect(textOf(await all(first.ask(next)))).toBe(textOf(await all(second.ask(next))));
  });

  it('are told as the end of the turn', async () => {
    const controller = new AbortController();
    const conversation = chat(loaded, { cache: newCache() });
    const events = conversation.ask({ images, prompt: WORDS, signal: controller.signal });
    await events.next();
    controller.abort();
    expect(finishOf(await all(events))).toMatchObject({ reason: 'aborted' });
  });

  it('end a prompt between its parts, and nothing of the turn stays', async () => {
    const conversation = chat(loaded, { cache: newCache(0.2) });
    await all(conversation.ask({ images, prompt: WORDS, maxNewTokens: 3 }));
    const { tokens } = conversation;
    const controller = new AbortController();
    // The prompt has several parts; the first of them is in the cache when the signal comes.
    const long = { prompt: 'w9 '.repeat(100), signal: controller.signal };
    const append = conversation.cache.appendTurn;
    conversation.cache.appendTurn = function (...rows) {
      controller.abort();
      append.apply(this, rows);
    };
    expect(await all(conversation.ask(long))).toMatchObject([
      { type: 'usage' },
      { type: 'finish', reason: 'aborted', text: '' },
    ]);
    Reflect.deleteProperty(conversation.cache, 'appendTurn');
    expect(conversation.tokens).toEqual(tokens);
    // What the cache held before the turn is still there.
    const events = await all(conversation.ask({ prompt: 'w7 w8', maxNewTokens: 4 }));
    expect(events.at(-2)).toMatchObject({ usage: { cachedTokens: tokens.length - 1 } });
    expect(finishOf(events).text).toMatch(/^w\d/);
  });

  it('that have come before end a turn before it begins', async () => {
    const conversation = chat(loaded, { cache: newCache() });
    const events = await all(conversation.ask({ images, prompt: WORDS, signal: AbortSignal.abort() }));
    expect(finishOf(events)).toMatchObject({ reason: 'aborted', text: '' });
    expect(conversation.tokens).toEqual([]);
    const inputs = await prepareInputs(loaded, { images, prompt: WORDS });
    expect(await failure(loaded.model.generate({ ...inputs, signal: AbortSignal.abort() }))).toBe('aborted');
    const question = { images: [picture(1)], prompt: 'a' };
    expect(await failure(answer(loaded, question, { cache: newCache(), signal: AbortSignal.abort() }))).toBe(
      'aborted',
    );
  });

  it('come of whoever stops listening', async () => {
    const conversation = chat(loaded, { cache: newCache() });
    for await (const event of conversation.ask({ images, prompt: WORDS, maxNewTokens: 40 }))
      if (event.type === 'text') break;
    const said = conversation.tokens.length;
    expect(conversation.cache.seen).toBe(said - 1);
    await all(conversation.ask({ prompt: 'w7 w8', maxNewTokens: 4 }));
    expect(conversation.tokens.length).toBeGreaterThan(said);
  });
});

describe('seeds', () => {
  const drawn = async (seed: number, more: Partial<ChatQuestion> = {}) =>
    textOf(
      await all(
        chat(loaded, { cache: newCache() }).ask({
          images,
          prompt: WORDS,
          maxNewTokens: 24,
          temperature: 1.5,
          seed,
          ...more,
        }),
      ),
    );

  it('give the same answer again, whoever runs at the same time', async () => {
    const alone = await drawn(7);
    const [one, other, same] = await Promise.all([drawn(7), drawn(8), drawn(7)]);
    expect([one, same]).toEqual([alone, alone]);
    expect(other).not.toBe(alone);
  });

  it('leave the likeliest token where nothing else may be drawn', async () => {
    const greedy = await drawn(1, { temperature: 0 });
    expect(await drawn(2, { topK: 1 })).toBe(greedy);
    expect(await drawn(3, { topP: 1e-6 })).toBe(greedy);
  });
});

describe('one cache', () => {
  it('holds one conversation, whoever asks', async () => {
    const cache = newCache();
    const first = await answer(loaded, { images, prompt: WORDS }, { cache, maxNewTokens: 5 });
    const conversation = chat(loaded, { cache });
    expect(conversation.tokens).toHaveLength(first.promptTokens + 5);
    const events = await all(conversation.ask({ prompt: 'w7 w8', maxNewTokens: 4 }));
    expect(events.at(-2)).toMatchObject({ usage: { cachedTokens: first.promptTokens + 4 } });
    const third = await answer(loaded, { images: [picture(1)], prompt: WORDS }, { cache, maxNewTokens: 2 });
    expect(conversation.tokens).toHaveLength(third.promptTokens + third.tokens.length);
    expect(() => chat(loaded, { cache, system: 'Be brief.' })).toThrow(
      /^system is for the beginning of a conversation/,
    );
  });

  it('begins another after reset(), by its owner or by the conversation', async () => {
    const conversation = chat(loaded, { cache: newCache() });
    const ask = async () => [
      textOf(await all(conversation.ask({ images, prompt: WORDS, maxNewTokens: 4 }))),
      conversation.tokens.length,
    ];
    const first = await ask();
    conversation.cache.reset();
    expect(await ask()).toEqual(first);
    conversation.reset();
    expect([conversation.tokens.length, conversation.cache.seen]).toEqual([0, 0]);
    expect(await ask()).toEqual(first);
  });

  it('that is used beside its conversation is refused', async () => {
    const cache = newCache();
    const conversation = chat(loaded, { cache });
    await all(conversation.ask({ images, prompt: WORDS, maxNewTokens: 4 }));
    const ids = BigInt64Array.from([...conversation.tokens, 9].map(BigInt));
    const { Tensor } = await import('@huggingface/transformers');
    const input_ids = new Tensor('int64', ids, [1, ids.length]);
    const attention_mask = new Tensor('int64', ids.slice().fill(1n), [1, ids.length]);
    await loaded.model.generate({ input_ids, attention_mask, past_key_values: cache, max_new_tokens: 2 });
    expect(await failure(all(conversation.ask({ prompt: 'a' })))).toBe('prompt-mismatch');
  });

  it('takes one turn at a time', async () => {
    const conversation = chat(loaded, { cache: newCache() });
    const [first, second] = await Promise.allSettled(
      [1, 2].map(() => all(conversation.ask({ images, prompt: WORDS, maxNewTokens: 2 }))),
    );
    expect(first!.status).toBe('fulfilled');
    expect(second).toMatchObject({
      status: 'rejected',
      reason: { message: expect.stringMatching(/at another turn/) },
    });
  });
});

it('a policy that fails in a turn leaves the conversation as it was, to be read anew', async () => {
  let wrong = false;
  const policy = newCache().policy;
  const cache = new ElasticCache({
    budget: 0.5,
    policy: {
      ...policy,
      begin(layers) {
        const sequence = policy.begin(layers);
        return { ...sequence, evict: (...args) => (wrong ? 1e9 : sequence.evict(...args)) };
      },
    },
  });
  const conversation = chat(loaded, { cache });
  await all(conversation.ask({ images, prompt: WORDS, maxNewTokens: 4 }));
  const { tokens } = conversation;
  wrong = true;
  expect(await failure(all(conversation.ask({ prompt: 'a' })))).toBe('invalid-policy');
  expect(conversation.tokens).toEqual(tokens);
  wrong = false;
  const events = await all(conversation.ask({ prompt: 'w7 w8', maxNewTokens: 2 }));
  expect(events.at(-2)).toMatchObject({ usage: { cachedTokens: 0 } });
});

it('generate() ends at strings too, row by row', async () => {
  const { model, tokenizer } = embedded;
  const inputs = await prepareInputs(embedded, { images: scene!, prompt: PROMPT });
  const output = (await model.generate({ ...inputs, stop_strings: 'shows', max_new_tokens: 40 })) as {
    tolist(): bigint[][];
  };
  const text = tokenizer.decode(output.tolist()[0]!, { skip_special_tokens: true });
  expect(text).toMatch(/The picture shows$/);
});
