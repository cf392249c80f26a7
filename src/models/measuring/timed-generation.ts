import { BaseStreamer, cat, Tensor, type TextStreamer } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { type Inputs, tokensAfterImage } from '../conversation/prepare-inputs.js';
import type { LoadedModel } from '../loaded-model.js';
import { plainGeneration } from './generation-settings.js';

export interface Timing {
  /** From the first look at the image to the first new token of every row. */
  prefillMs: number;
  /** Mean over the steps after the first; a step is one token of every row. */
  msPerStep: number;
}

/** Times `newTokens` (2 or more) greedy tokens for each row, whatever they say. @param cache empty */
export async function timeGeneration(
  { model }: LoadedModel,
  inputs: Inputs,
  newTokens: number,
  cache: KVCache,
): Promise<Timing> {
  const clock = new Clock();
  const start = performance.now();
  await model.generate({
    ...inputs,
    ...plainGeneration(newTokens),
    past_key_values: cache,
    // A base class will do; its type says otherwise.
    streamer: clock as BaseStreamer as TextStreamer,
  });
  const [, first, ...later] = clock.calls;
  return { prefillMs: first! - start, msPerStep: (later.at(-1)! - first!) / later.length };
}

/** Notes when `generate()` hands out the prompt and each new token. */
class Clock extends BaseStreamer {
  readonly calls: number[] = [];

  override put(): void {
    this.calls.push(performance.now());
  }

  override end(): void {}
}

/**
 * The inputs of a prompt of exactly `tokens` tokens: the text after the image is repeated in front of itself until it is so long.
 * @throws ElasticCacheError 'invalid-option' when the prompt is longer already
 */
export function lengthened(loaded: LoadedModel, inputs: Inputs, tokens: number): Inputs {
  const own = inputs.input_ids.dims[1]!;
  if (tokens < own) {
    throw new ElasticCacheError(
      'invalid-option',
      `a prompt of ${tokens} tokens is shorter than the question with its image, which has ${own}; give --lengths that are longer.`,
    );
  }
  const text = tokensAfterImage(loaded, inputs);
  const places = Array.from({ length: tokens }, (_, at) => {
    const behind = at - (own - text);
    // Counted from the end, so that the last repetition is whole.
    return behind < 0 ? at : own - 1 - ((tokens - 1 - at) % text);
  });
  return each(inputs, (tensor) => {
    const { dims, data } = tensor;
    if (dims.length !== 2 || dims[1] !== own || !(data instanceof BigInt64Array)) return tensor;
    return new Tensor(
      'int64',
      BigInt64Array.from(places, (place) => data[place]!),
      [1, tokens],
    );
  });
}

/** The same question in every one of `rows` rows. */
export function repeated(inputs: Inputs, rows: number): Inputs {
  return each(inputs, (tensor) =>
    cat(
      Array.from({ length: rows }, () => tensor),
      0,
    ),
  );
}

function each(inputs: Inputs, change: (tensor: Tensor) => Tensor): Inputs {
  const entries = Object.entries(inputs).map(([name, value]) => [
    name,
    value instanceof Tensor ? change(value) : value,
  ]);
  return Object.fromEntries(entries) as Inputs;
}
