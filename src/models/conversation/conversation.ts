import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { decoderSession } from '../decoder-session.js';
import type { LoadedModel } from '../loaded-model.js';
import { nextInputs } from './next-inputs.js';
import { type Inputs, prepareInputs, type Question } from './prepare-inputs.js';
import { checkConversation, checkQuestion } from './question.js';
import { type Reply, type ReplySettings, replyTo, type Said } from './reply.js';

/** What is told of a turn while it runs. */
export interface TurnListener {
  /** Called with the number of tokens of the whole prompt before it is read. */
  onPrompt?: ((tokens: number) => void) | undefined;
  /** Called with each piece of text as soon as it is known. */
  onText?: ((text: string) => void) | undefined;
}

export interface Turn extends Reply {
  /** Tokens of the prompt, the conversation before it included. */
  promptTokens: number;
  /** How many of these the cache had seen, which took no time. */
  cachedTokens: number;
}

/** A conversation as far as it is complete. */
interface Past {
  inputs: Inputs;
  said: Said;
  /** Tokens of it that the cache has seen; 0 when it must be read anew. */
  seen: number;
}

const conversations = new WeakMap<KVCache, Conversation>();

/** The conversation that a cache holds, or a new one. @param system what the model is told before its first turn */
export function conversationOf(loaded: LoadedModel, cache: KVCache, system?: string): Conversation {
  checkConversation(loaded, cache, system);
  const known = conversations.get(cache);
  if (known?.loaded === loaded && (cache.seen > 0 || known.interrupted)) {
    if (system === undefined || system === known.system) return known;
    throw new ElasticCacheError(
      'invalid-option',
      'system is for the beginning of a conversation, and this cache holds one that began without it; reset() the cache to begin another.',
    );
  }
  const begun = new Conversation(loaded, cache, system);
  conversations.set(cache, begun);
  return begun;
}

/**
 * A conversation on one cache, kept as tokens: text that was said and tokens that were read are not the same, since a text may be encoded in several ways and
 * templates write earlier turns differently from how they came. What the cache has seen is always how the next prompt begins.
 */
export class Conversation {
  private past: Past | undefined;
  private busy = false;

  constructor(
    readonly loaded: LoadedModel,
    private readonly cache: KVCache,
    readonly system: string | undefined,
  ) {}

  /** Whether a turn failed in a way that left the cache empty, and the next one reads everything anew. */
  get interrupted(): boolean {
    return this.past?.seen === 0;
  }

  /** Every token so far: prompts and answers. */
  get tokens(): number[] {
    if (!this.past) return [];
    const { inputs, said } = this.past;
    return [...Array.from(inputs.input_ids.data as BigInt64Array, Number), ...said.tokens];
  }

  /**
   * Asks and lets the model answer. A turn that fails, or is aborted before the first token of its answer, leaves the conversation as it was; one that is aborted later
   * becomes a part of it as far as it came.
   * @throws ElasticCacheError 'invalid-prompt', 'prompt-mismatch', 'model-mismatch', 'context-full', 'invalid-option' and what the cache's policy throws
   */
  async turn(
    question: Question,
    settings: ReplySettings,
    { onPrompt, onText }: TurnListener = {},
  ): Promise<Turn> {
    if (this.busy) {
      throw new ElasticCacheError(
        'invalid-prompt',
        'This conversation is at another turn; wait for its answer, or end it by its signal.',
      );
    }
    checkQuestion('a turn', question);
    this.busy = true;
    try {
      this.checkCache();
      const inputs = await this.next(question);
      const promptTokens = inputs.input_ids.dims[1]!;
      const cachedTokens = this.cache.seen;
      onPrompt?.(promptTokens);
      const reply = await this.reply(inputs, settings, onText);
      return { ...reply, promptTokens, cachedTokens };
    } finally {
      this.busy = false;
    }
  }

  /** Forgets all turns, in the cache as well; what the model was told beforehand stays. */
  reset(): void {
    this.past = undefined;
    this.cache.reset();
  }

  private next(question: Question): Promise<Inputs> {
    const { loaded, past, system } = this;
    if (past) return nextInputs(loaded, past.inputs, past.said, question);
    return prepareInputs(loaded, { ...question, system });
  }

  private async reply(
    inputs: Inputs,
    settings: ReplySettings,
    onText: TurnListener['onText'],
  ): Promise<Reply> {
    const before = this.cache.seen;
    let said: Said | undefined;
    try {
      const replied = await replyTo(this.loaded, inputs, this.cache, settings, { onText });
      if (replied.reply.tokens.length > 0) said = replied.said;
      return replied.reply;
    } finally {
      if (said) {
        this.past = { inputs, said, seen: this.cache.seen };
      } else if (this.cache.seen !== before) {
        this.cache.reset();
        if (this.past) this.past.seen = 0;
      }
    }
  }

  /** The cache may be reset() by its owner, which begins another conversation, but not used beside this one. */
  private checkCache(): void {
    const { seen } = this.cache;
    const expected = this.past?.seen ?? 0;
    if (seen === expected) return;
    if (seen === 0) {
      this.past = undefined;
      return;
    }
    // Of another model's nothing else matters.
    decoderSession(this.loaded.model)?.claim(this.cache, 1);
    throw new ElasticCacheError(
      'prompt-mismatch',
      `This cache has seen ${seen} tokens, of which this conversation knows ${expected}; give it a cache of its own, or reset() this one to begin another.`,
    );
  }
}
