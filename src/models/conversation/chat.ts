import { eitherSignal } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import type { CacheStats } from '../../memory/stats.js';
import { refuseUnknown } from '../../options.js';
import type { LoadedModel } from '../loaded-model.js';
import { type Conversation, conversationOf } from './conversation.js';
import { EventQueue } from './event-queue.js';
import type { Question } from './prepare-inputs.js';
import { type FinishReason, REPLY_SETTINGS, type ReplySettings } from './reply.js';

export interface ChatOptions {
  /** Holds the conversation. With one that holds a conversation already, that one goes on. */
  cache: KVCache;
  /** What the model is told before the first turn. */
  system?: string | undefined;
}

/** One turn: what is asked, with its images if it has any, and how it is answered. */
export interface ChatQuestion extends ReplySettings, Pick<Question, 'prompt'> {
  images?: Question['images'] | undefined;
}

/** What comes of a turn: text, piece by piece; then what it cost; last how it ended. */
export type ChatEvent =
  | { type: 'text'; text: string }
  | { type: 'usage'; usage: ChatUsage }
  | { type: 'finish'; reason: FinishReason; text: string };

export interface ChatUsage {
  /** Tokens of the prompt, all turns before it included. */
  promptTokens: number;
  /** How many of these the cache had seen. */
  cachedTokens: number;
  newTokens: number;
  /** From the first look at the images to the first new token; null when there is none. */
  prefillMs: number | null;
  /** Mean over the new tokens after the first; null when there is no second. */
  msPerToken: number | null;
  /** What the cache holds now. */
  stats: CacheStats;
}

export interface Chat {
  /**
   * Asks, and tells the answer as it comes. Nothing runs before the first event is asked for; who stops listening ends the answer. An answer that is ended
   * stays in the conversation as far as it came.
   *
   * Throws ElasticCacheError 'invalid-prompt', 'context-full', 'prompt-mismatch' or 'invalid-option'; the conversation is then as it was before.
   */
  ask(question: ChatQuestion): AsyncGenerator<ChatEvent, void, undefined>;
  /** Every token so far, prompts and answers, as the model saw them. */
  readonly tokens: readonly number[];
  readonly cache: KVCache;
  /** Forgets all turns, in the cache as well. */
  reset(): void;
}

/**
 * Begins a conversation with a model, or goes on with the one that a cache holds.
 * @example
 * const { ask } = chat(loaded, { cache: new ElasticCache({ budget: 0.2 }) });
 * for await (const event of ask({ images: [image], prompt: 'What is this?' }))
 *   if (event.type === 'text') show(event.text);
 */
export function chat(loaded: LoadedModel, options: ChatOptions): Chat {
  refuseUnknown('chat', options ?? null, ['cache', 'system']);
  const { cache, system } = options;
  const conversation = conversationOf(loaded, cache, system);
  return {
    cache,
    ask: (question) => ask(conversation, cache, question),
    get tokens() {
      return conversation.tokens;
    },
    reset: () => conversation.reset(),
  };
}

async function* ask(
  conversation: Conversation,
  cache: KVCache,
  question: ChatQuestion,
): AsyncGenerator<ChatEvent, void, undefined> {
  refuseUnknown('ask', question ?? null, ['images', 'prompt', ...REPLY_SETTINGS]);
  const { images = [], prompt, signal, ...settings } = question;
  const left = new AbortController();
  const ended = eitherSignal(left.signal, signal);
  const events = new EventQueue<ChatEvent>();
  const running = conversation
    .turn(
      { images, prompt },
      { ...settings, signal: ended },
      { onText: (text) => events.push({ type: 'text', text }) },
    )
    .then(({ promptTokens, cachedTokens, tokens, prefillMs, msPerToken, finishReason: reason, text }) => {
      const newTokens = tokens.length;
      const stats = cache.stats();
      events.push({
        type: 'usage',
        usage: { promptTokens, cachedTokens, newTokens, prefillMs, msPerToken, stats },
      });
      events.push({ type: 'finish', reason, text });
      events.close();
    })
    .catch((error: unknown) => events.fail(error));
  try {
    yield* events;
  } finally {
    left.abort();
    await running;
  }
}
