import type { RawImage } from '@huggingface/transformers';
import type * as library from '../../src/browser.js';
import type { PolicyName } from '../../src/browser.js';

/** What runs in Node and in a browser alike, to be compared: each function is given the library of either. */
export interface Given {
  library: Pick<typeof library, 'ElasticCache' | 'chat' | 'createEngine'>;
  loaded: library.LoadedVisionModel;
  images: readonly RawImage[];
}

/** A conversation: the first image comes with the first turn, the second with the third. */
export interface Script {
  prompts: readonly string[];
  policy: PolicyName;
  budget: number;
  newTokens: number;
}

/** What a conversation came to. */
export interface Told {
  texts: string[];
  reasons: string[];
  tokens: number[];
  stats: library.CacheStats;
}

export type Play = (given: Given, script: Script) => Promise<Told[]>;

/** @param endAfter pieces of text after which the first answer is ended */
async function conversation(
  { library, loaded, images }: Given,
  { prompts, policy, budget, newTokens }: Script,
  endAfter = Number.POSITIVE_INFINITY,
): Promise<Told> {
  const cache = new library.ElasticCache({ budget, policy });
  const talk = library.chat(loaded, { cache });
  const [texts, reasons]: [string[], string[]] = [[], []];
  for (const [turn, prompt] of prompts.entries()) {
    const ends = new AbortController();
    const shown = turn === 0 ? images.slice(0, 1) : turn === 2 ? images.slice(1) : [];
    const question = { prompt, images: shown, maxNewTokens: newTokens, temperature: 0, signal: ends.signal };
    let pieces = 0;
    for await (const event of talk.ask(question)) {
      if (event.type === 'text' && turn === 0 && ++pieces === endAfter) ends.abort();
      if (event.type !== 'finish') continue;
      texts.push(event.text);
      reasons.push(event.reason);
    }
  }
  return { texts, reasons, tokens: [...talk.tokens], stats: cache.stats() };
}

export const plays = {
  /** By itself. */
  alone: async (given, script) => [await conversation(given, script)],
  /** The first answer is ended after two pieces of text, and the conversation goes on. */
  ended: async (given, script) => [await conversation(given, script, 2)],
  /** With another on the same model at the same time. */
  together: (given, script) =>
    Promise.all([conversation(given, script), conversation(given, { ...script, policy: 'full' })]),
  /** Each prompt with the first image is a request to an engine, all at the same time. */
  engine: async ({ library, loaded, images }, { prompts, policy, budget, newTokens }) => {
    const engine = await library.createEngine(loaded, { lanes: 2, budget, policy });
    const request = async (content: string): Promise<Told> => {
      const told = { texts: [''], reasons: [] as string[], tokens: [], stats: undefined as unknown };
      const messages = [{ role: 'user' as const, content, images: images.slice(0, 1) }];
      for await (const event of engine.add({ messages, maxNewTokens: newTokens, temperature: 0 })) {
        if (event.type === 'text') told.texts[0] += event.text;
        if (event.type === 'usage') told.stats = event.usage.stats;
        if (event.type === 'finish') told.reasons.push(event.reason);
      }
      return told as Told;
    };
    const all = await Promise.all(prompts.map(request));
    await engine.close();
    return all;
  },
} satisfies Record<string, Play>;
