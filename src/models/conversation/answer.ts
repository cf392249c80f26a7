import { abortedBy, ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { refuseUnknown } from '../../options.js';
import type { LoadedModel } from '../loaded-model.js';
import { conversationOf, type Turn, type TurnListener } from './conversation.js';
import type { Inputs, Question } from './prepare-inputs.js';
import { REPLY_SETTINGS, type Reply, type ReplySettings, replyTo } from './reply.js';

export interface AnswerOptions extends ReplySettings, TurnListener {
  /** Holds the conversation: empty for a first question, and given again for the next one. */
  cache: KVCache;
}

export interface Answer extends Reply {
  /** Tokens of the prompt, all turns before it included. */
  promptTokens: number;
}

/**
 * Asks a loaded model about images, or without any: one turn of the conversation that the cache holds.
 * @throws ElasticCacheError 'aborted' by its signal; the cache then holds what was said so far, and what `chat()` throws
 */
export async function answer(loaded: LoadedModel, question: Question, options: AnswerOptions): Promise<Turn> {
  refuseUnknown('answer', options ?? null, ['cache', 'onPrompt', 'onText', ...REPLY_SETTINGS]);
  const { cache, onPrompt, onText, ...settings } = options;
  if (onPrompt !== undefined && typeof onPrompt !== 'function') {
    throw new ElasticCacheError('invalid-option', 'onPrompt is no function; leave it out.');
  }
  const conversation = conversationOf(loaded, cache, question?.system);
  return unlessAborted(await conversation.turn(question, settings, { onPrompt, onText }), settings);
}

/** As {@link answer}, for the first turn of a conversation that is prepared: to ask the same several times. */
export async function answerInputs(
  loaded: LoadedModel,
  inputs: Inputs,
  options: AnswerOptions,
): Promise<Answer> {
  const { cache, onPrompt, onText, ...settings } = options;
  const promptTokens = inputs.input_ids.dims[1]!;
  onPrompt?.(promptTokens);
  const { reply } = await replyTo(loaded, inputs, cache, settings, { onText });
  return unlessAborted({ ...reply, promptTokens }, settings);
}

function unlessAborted<T extends Reply>(reply: T, { signal }: ReplySettings): T {
  if (reply.finishReason === 'aborted') throw abortedBy(signal);
  return reply;
}
