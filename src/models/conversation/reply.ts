import { BaseStreamer, type TextStreamer } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import type { Snapshot } from '../../memory/saving/snapshot.js';
import { checkWhole } from '../../options.js';
import { imageTokenId } from '../families/image-token.js';
import { Detokenizer } from '../generation/detokenizer.js';
import { endTokensOf } from '../generation/end-tokens.js';
import { checkStops, Until } from '../generation/ended-generation.js';
import { InForm } from '../generation/formatted/in-form.js';
import { formOf, type ResponseFormat } from '../generation/formatted/response-format.js';
import { LogProbabilities, type TokenLogprobs } from '../generation/log-probabilities.js';
import { PENALTIES, type Penalties, penalizing } from '../generation/penalties.js';
import { StopStrings } from '../generation/stop-strings.js';
import type { LoadedModel } from '../loaded-model.js';
import type { Inputs } from './prepare-inputs.js';

/** How an answer is made. */
export interface ReplySettings extends Penalties {
  /** Longest answer, in tokens; 256 unless told. */
  maxNewTokens?: number | undefined;
  /** 0 (the default) always takes the likeliest token. */
  temperature?: number | undefined;
  /** Only the fewest likeliest tokens with this probability together are drawn from; all (1) unless the model's own settings say otherwise. */
  topP?: number | undefined;
  /** Only so many of the likeliest tokens are drawn from, 0 for all; 50, as in transformers, unless the model's own settings say otherwise. */
  topK?: number | undefined;
  /** Only tokens with at least this share of the likeliest one's probability are drawn from; all (0) unless told. */
  minP?: number | undefined;
  /** The same seed gives the same answer, whatever else runs. */
  seed?: number | undefined;
  /** Strings that end the answer, which is then what comes before them. */
  stop?: string | readonly string[] | undefined;
  /** What form the answer has: any unless told. What it is cut to by its longest length is none. */
  responseFormat?: ResponseFormat | undefined;
  /** Ends the answer. */
  signal?: AbortSignal | undefined;
}

/** The names of these. */
export const REPLY_SETTINGS = [
  'maxNewTokens',
  'temperature',
  'topP',
  'topK',
  'minP',
  'seed',
  'stop',
  'responseFormat',
  'signal',
  ...PENALTIES,
] as const satisfies (keyof ReplySettings)[];

/** What ended an answer: the model, the longest length or the end of its context, a stop string, or a signal. */
export type FinishReason = 'stop' | 'length' | 'stop-string' | 'aborted';

export interface Reply {
  text: string;
  finishReason: FinishReason;
  /** Ids of the new tokens, the one that ended the text included. */
  tokens: number[];
  /** From the first look at the images to the first new token; null when there is none. */
  prefillMs: number | null;
  /** Mean over the new tokens after the first, without the time in `onText`; null when there is no second. */
  msPerToken: number | null;
}

/** What a conversation goes on from: all that was said, and nothing that was not. */
export interface Said {
  /** Tokens of the answer, without one that ended it. */
  tokens: readonly number[];
  /** What was said behind them: the beginning of a token in whose midst a stop string began. */
  rest: string;
}

/** What is told of an answer while it is made, and how. */
export interface Telling {
  /** Called with each piece of text as soon as it is known; the pieces joined are the text. */
  readonly onText?: ((text: string) => void) | undefined;
  /** Told how likely each new token was, before its text. */
  readonly likely?: Likely | undefined;
  /** Whether the space at both ends is told too: where a text is gone on with, it belongs to it. */
  readonly withSpace?: boolean | undefined;
}

/** Who wants to know how likely tokens were. */
export interface Likely {
  /** How many of the likeliest are told beside the one that was taken. */
  readonly top: number;
  readonly onToken: (logprobs: TokenLogprobs) => void;
}

const LONGEST = 256;

/** Tokens that an answer has at most. @throws ElasticCacheError 'invalid-option' */
export function longestOf({ maxNewTokens = LONGEST }: ReplySettings): number {
  checkWhole('maxNewTokens', maxNewTokens, 1);
  return maxNewTokens;
}

/**
 * Lets a model answer inputs of one prompt. A signal ends it in good order: what was said so far is returned. Tokens of a stop string are taken out of the
 * cache again, unless its policy is one of the user's own that does not say what it remembers.
 * @throws ElasticCacheError 'invalid-option', and what `generate()` throws, but for 'aborted'
 */
export async function replyTo(
  loaded: LoadedModel,
  inputs: Inputs,
  cache: KVCache,
  settings: ReplySettings = {},
  { onText, likely, withSpace = false }: Telling = {},
): Promise<{ reply: Reply; said: Said }> {
  const { temperature = 0, topP, topK, minP = 0, seed, stop = [], signal } = settings;
  const maxNewTokens = longestOf(settings);
  const promptTokens = inputs.input_ids.dims[1]!;
  const processors = penalizing(settings, promptTokens);
  const form = formOf(settings.responseFormat, loaded.tokenizer);
  if (form) processors.push(new InForm(form, promptTokens, endTokensOf(loaded)));
  const logprobs = likely && new LogProbabilities(likely.top);
  // The scores as the model gave them.
  if (logprobs) processors.processors.unshift(logprobs);
  const onToken = logprobs && ((token: number) => likely.onToken(logprobs.of(token)));
  if (onText !== undefined && typeof onText !== 'function') {
    throw new ElasticCacheError('invalid-option', 'onText is no function; leave it out.');
  }
  const stream = new ReplyStream(
    loaded,
    cache,
    checkStops(stop),
    { onText, withSpace, isExact: form !== undefined },
    onToken,
  );
  const start = performance.now();
  const options = {
    ...inputs,
    past_key_values: cache,
    max_new_tokens: maxNewTokens,
    do_sample: temperature !== 0,
    ...(temperature === 0 ? {} : { temperature }),
    min_p: minP,
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(topK === undefined ? {} : { top_k: topK }),
    ...(seed === undefined ? {} : { seed }),
    ...(signal ? { signal } : {}),
    ...suppressed(loaded),
    stopping_criteria: stream.criterion,
    logits_processor: processors,
    // A base class will do; its type says otherwise.
    streamer: stream as BaseStreamer as TextStreamer,
  };
  let aborted = false;
  await loaded.model.generate(options).catch((cause: unknown) => {
    const code = cause instanceof ElasticCacheError ? cause.code : undefined;
    aborted = code === 'aborted';
    // A config need not say how long a text may be: the decoder does, and what was said is said.
    const isFull = code === 'context-full' && stream.tokens.length > 0;
    if (!aborted && !isFull) throw cause;
  });
  stream.finish();
  const { tokens, text, ended, first, waits } = stream;
  const reply: Reply = {
    text,
    tokens,
    finishReason: stream.stopped ? 'stop-string' : ended ? 'stop' : aborted ? 'aborted' : 'length',
    prefillMs: first === undefined ? null : first - start,
    msPerToken: waits.length > 0 ? waits.reduce((sum, wait) => sum + wait) / waits.length : null,
  };
  const before = stream.stopped ? stream.settled : undefined;
  if (before?.cache) cache.restore(before.cache);
  if (before) return { reply, said: before.said(reply) };
  return { reply, said: { tokens: ended ? tokens.slice(0, -1) : tokens, rest: '' } };
}

/** An answer as it was before a token that may be the first of a stop string. */
class Settled {
  /** The cache, where it has read more since. */
  cache: Snapshot | undefined;

  constructor(
    private readonly tokens: number,
    private readonly text: string,
  ) {}

  said({ tokens, text }: Reply): Said {
    return { tokens: tokens.slice(0, this.tokens), rest: text.slice(this.text.length) };
  }
}

/** A token that stands for an image is never said: in a longer conversation there would be an image missing. */
function suppressed({ model }: LoadedModel): { suppress_tokens?: number[] } {
  const token = imageTokenId({ model });
  const { suppress_tokens } = Object(model.generation_config) as { suppress_tokens?: number[] | null };
  return token < 0 ? {} : { suppress_tokens: [...(suppress_tokens ?? []), token] };
}

/** Makes text of the tokens that `generate()` hands out, and notes how long each took, without what is done with it. */
class ReplyStream extends BaseStreamer {
  readonly tokens: number[] = [];
  text = '';
  /** When the first new token came. */
  first: number | undefined;
  /** Milliseconds that each later token took. */
  readonly waits: number[] = [];
  /** Whether a stop string was found. */
  stopped = false;
  /** Before the tokens that may be, or are, those of a stop string; undefined where there are none, or no way back. */
  settled: Settled | undefined;
  readonly criterion = new Until(() => [this.stopped || this.ended]);
  private promptSeen = false;
  private resumed = 0;
  private readonly reader: Detokenizer;
  private readonly stops: StopStrings;
  private readonly ends: ReadonlySet<number>;
  /** Space that is only told when something comes behind it. */
  private space = '';

  constructor(
    private readonly loaded: LoadedModel,
    private readonly cache: KVCache,
    private readonly strings: readonly string[],
    private readonly telling: Pick<Telling, 'onText' | 'withSpace'> & { isExact: boolean },
    private readonly onToken: ((token: number) => void) | undefined,
  ) {
    super();
    this.reader = new Detokenizer(loaded.tokenizer, telling.isExact);
    this.stops = new StopStrings(strings);
    this.ends = endTokensOf(loaded);
  }

  /** Whether the last token ends a text: by the model's settings, or by its tokenizer, which some settings leave out. */
  get ended(): boolean {
    const last = this.tokens.at(-1);
    return last !== undefined && this.ends.has(last);
  }

  override put(value: bigint[][]): void {
    if (this.promptSeen) this.add(Number(value[0]![0]));
    this.promptSeen = true;
    this.resumed = performance.now();
  }

  /** Told at the end of a generation; {@link finish} is called after one that failed as well. */
  override end(): void {}

  finish(): void {
    this.say(this.stops.push(this.reader.end()) + this.stops.end());
  }

  private add(token: number): void {
    const now = performance.now();
    if (this.first === undefined) this.first = now;
    else this.waits.push(now - this.resumed);
    const before = new Settled(this.tokens.length, this.text + this.space);
    this.tokens.push(token);
    this.onToken?.(token);
    this.say(this.stops.push(this.reader.push(token)));
    // A special token is no part of the text, and may be asked for by its name.
    const { tokenizer } = this.loaded;
    const name = this.strings.length > 0 ? tokenizer.decode([token], { skip_special_tokens: false }) : '';
    this.stopped ||= this.stops.found !== undefined || this.strings.includes(name);
    if (this.strings.length > 0) this.settle(before);
  }

  /** The cache has not read the token that is told: this is the moment to keep it as it was before. */
  private settle(before: Settled): void {
    if (!this.stopped && !this.stops.isHolding && !this.reader.isWaiting) {
      this.settled = undefined;
      return;
    }
    if (this.settled) return;
    try {
      if (!this.stopped) before.cache = this.cache.snapshot();
      this.settled = before;
    } catch (cause) {
      if (!(cause instanceof ElasticCacheError && cause.code === 'invalid-policy')) throw cause;
    }
  }

  /** The space at both ends of an answer is not part of it, unless it is told too. */
  private say(piece: string): void {
    const { onText, withSpace } = this.telling;
    if (withSpace) {
      this.text += piece;
      if (piece !== '') onText?.(piece);
      return;
    }
    const text = this.text === '' ? piece.trimStart() : this.space + piece;
    const said = text.trimEnd();
    this.space = text.slice(said.length);
    this.text += said;
    if (said !== '') onText?.(said);
  }
}
