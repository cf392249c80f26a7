import { TextStreamer } from '@huggingface/transformers';
import type { KVCache } from '../cache/kv-cache.js';
import type { LoadedModel } from './loaded-model.js';
import { type Inputs, prepareInputs, type Question } from './prepare-inputs.js';

export interface AnswerOptions {
  /** Holds the conversation; empty for a first question. */
  cache: KVCache;
  maxNewTokens: number;
  /** 0 (the default) always takes the likeliest token. */
  temperature?: number;
  /** Called with the number of prompt tokens before the prompt is read. */
  onPrompt?: (tokens: number) => void;
  /** Called with each piece of text as soon as it is known. */
  onText?: (text: string) => void;
}

export interface Answer {
  text: string;
  /** Ids of the new tokens, the end-of-text token included. */
  tokens: number[];
  promptTokens: number;
  /** From the first look at the image to the first new token. */
  prefillMs: number;
  /** Mean over the new tokens after the first, without the time in `onText`; undefined when there is no second. */
  msPerToken: number | undefined;
}

/** Asks a loaded model about images, piece by piece, and measures how long it took. */
export async function answer(
  loaded: LoadedModel,
  question: Question,
  options: AnswerOptions,
): Promise<Answer> {
  return answerInputs(loaded, await prepareInputs(loaded, question), options);
}

/** As {@link answer}, for a question that is prepared: to ask the same several times. */
export async function answerInputs(
  { model, tokenizer }: LoadedModel,
  inputs: Inputs,
  { cache, maxNewTokens, temperature = 0, onPrompt, onText }: AnswerOptions,
): Promise<Answer> {
  const promptTokens = inputs.input_ids.dims[1]!;
  onPrompt?.(promptTokens);
  let begun = false;
  const streamer = new TimedStreamer(tokenizer, {
    skip_prompt: true,
    callback_function: (text: string) => {
      // The space that parts the answer from the prompt is not part of it.
      const shown = begun ? text : text.trimStart();
      begun ||= shown !== '';
      if (shown) onText?.(shown);
    },
  });
  const start = performance.now();
  await model.generate({
    ...inputs,
    past_key_values: cache,
    max_new_tokens: maxNewTokens,
    ...(temperature > 0 ? { do_sample: true, temperature } : { do_sample: false }),
    streamer,
  });
  const { waits, tokens } = streamer;
  return {
    text: tokenizer.decode(tokens, { skip_special_tokens: true }).trim(),
    tokens,
    promptTokens,
    prefillMs: streamer.first - start,
    msPerToken: waits.length > 0 ? waits.reduce((sum, wait) => sum + wait) / waits.length : undefined,
  };
}

/** Notes how long each new token took, without what is done with it. */
class TimedStreamer extends TextStreamer {
  readonly tokens: number[] = [];
  /** When the first new token came. */
  first = 0;
  /** Milliseconds that each later token took. */
  readonly waits: number[] = [];
  private promptSeen = false;
  private resumed = 0;

  override put(value: bigint[][]): void {
    if (this.promptSeen) this.note(Number(value[0]![0]));
    this.promptSeen = true;
    super.put(value);
    this.resumed = performance.now();
  }

  private note(token: number): void {
    const now = performance.now();
    if (this.tokens.length === 0) this.first = now;
    else this.waits.push(now - this.resumed);
    this.tokens.push(token);
  }
}
