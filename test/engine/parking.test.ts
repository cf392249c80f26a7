import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  chat,
  createEngine,
  ElasticCache,
  type Engine,
  type EngineEvent,
  type ImageSource,
  type LoadedModel,
  type Message,
} from '../../src/index.js';
import { picture } from '../picture.js';
import { heard, tinyModel, words } from './tiny-engine.js';

let loaded: LoadedModel;
let remove: () => Promise<void>;
let engine: Engine;

beforeAll(async () => {
  ({ loaded, remove } = await tinyModel());
});
afterAll(() => remove());

interface Turn {
  content: string;
  images?: ImageSource[];
}
const TURNS: Turn[] = [
  { content: words(60, 1), images: [picture(3)] },
  { content: words(25, 2) },
  { content: words(12, 3), images: [picture(4)] },
];
const settings = { maxNewTokens: 14, temperature: 1.2, seed: 5 };

/** The answers to turns of one conversation, each asked with all messages before it, and how many tokens of each prompt were held. */
async function conversation(turns: readonly Turn[], rest: object = {}) {
  const messages: Message[] = [];
  const texts: string[] = [];
  const cached: number[] = [];
  const prompts: number[] = [];
  for (const turn of turns) {
    messages.push({ role: 'user', ...turn });
    const { events, text, error } = await heard(
      engine.add({ messages: [...messages], ...settings, ...rest }),
    );
    expect(error).toBeUndefined();
    const { usage } = events.find((event) => event.type === 'usage') as Extract<
      EngineEvent,
      { type: 'usage' }
    >;
    cached.push(usage.cachedTokens);
    prompts.push(usage.promptTokens);
    texts.push(text);
    messages.push({ role: 'assistant', content: text });
  }
  return { texts, cached, prompts };
}

async function asChat(turns: readonly Turn[], options: object) {
  const { ask } = chat(loaded, { cache: new ElasticCache(options) });
  const texts: string[] = [];
  for (const { content: prompt, images = [] } of turns) {
    let text = '';
    for await (const event of ask({ prompt, images, ...settings })) {
      if (event.type === 'text') text += event.text;
    }
    texts.push(text);
  }
  return texts;
}

describe('a prompt that goes on from what was answered', () => {
  it.each(['snapkv', 'elastic', 'elastic-plus', 'h2o'])(
    '%s: is answered as chat() answers it',
    async (policy) => {
      engine = await createEngine(loaded, { budget: 0.3, policy: policy as never });
      const { texts, cached, prompts } = await conversation(TURNS);
      expect(texts).toEqual(await asChat(TURNS, { policy, budget: 0.3 }));
      expect(cached[0]).toBe(0);
      // All of the turn before, and its answer but for the last token, which nobody had read.
      expect(cached[1]).toBeGreaterThanOrEqual(prompts[0]!);
      expect(cached[2]).toBeGreaterThanOrEqual(prompts[1]!);
      // Again from the beginning: what was asked first goes on from nothing, and a branch off from the first answer.
      const again = await conversation([TURNS[0]!, { content: words(9, 7) }]);
      expect(again.texts).toEqual(
        await asChat([TURNS[0]!, { content: words(9, 7) }], { policy, budget: 0.3 }),
      );
      expect(again.cached).toEqual([0, cached[1]]);
      await engine.close();
    },
  );

  it('and is read anew with another picture, another word, another budget or policy', async () => {
    engine = await createEngine(loaded, { budget: 0.3 });
    const [first, second] = TURNS as [Turn, Turn];
    const { texts } = await conversation([first]);
    const after = (turn: Turn, rest: object = {}) =>
      heard(
        engine.add({
          messages: [
            { role: 'user', ...turn },
            { role: 'assistant', content: texts[0]! },
            { role: 'user', ...second },
          ],
          ...settings,
          ...rest,
        }),
      ).then(({ events }) => (events[0] as { cachedTokens: number }).cachedTokens);
    expect(await after({ ...first, images: [picture(9)] })).toBe(0);
    expect(await after({ ...first, content: `${first.content} w1` })).toBe(0);
    expect(await after(first, { budget: 0.5 })).toBe(0);
    expect(await after(first, { policy: 'elastic' })).toBe(0);
    expect(await after(first)).toBeGreaterThan(0);
    await engine.close();
  });

  it('is kept in so many bytes; what was not asked for the longest goes first', async () => {
    engine = await createEngine(loaded, { park: 60_000, budget: 1 });
    const turns = [1, 2, 3, 4].map((seed) => ({ content: words(40, seed) }));
    for (const turn of turns) await conversation([turn]);
    expect(engine.stats.bytesParked).toBeGreaterThan(0);
    expect(engine.stats.bytesParked).toBeLessThanOrEqual(60_000);
    await engine.close();
    engine = await createEngine(loaded, { park: 0 });
    const { cached } = await conversation(TURNS.slice(0, 2));
    expect([cached, engine.stats.bytesParked]).toEqual([[0, 0], 0]);
    await engine.close();
  });
});
