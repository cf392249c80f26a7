import type { Tensor } from '#platform/ort.js';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type { DecoderLayer, DecoderSignature } from '../../graph/decoder.js';

/** What a step gave of one layer. */
interface LayerOutputs {
  keys: ArrayLike<number>;
  values: ArrayLike<number>;
  attention?: ArrayLike<number> | undefined;
}

/** A step whose scores are looked at. */
export interface ScoredStep {
  /** Their embeddings, or their ids. */
  newTokens: { type: string; data: unknown };
  tokens: number;
  /** Tokens seen before it. */
  seen: number;
  layers: readonly Pick<DecoderLayer, 'index'>[];
  /** In the order of `layers`. */
  rows: readonly LayerOutputs[];
}

/**
 * Refuses scores that are NaN or infinite: the largest of them is no token's. A search for the largest takes the first token instead, over and over,
 * and would call that an answer.
 * @param logits float32, or float16 as bits or as Float16Array
 * @throws ElasticCacheError 'non-finite' with the step and the first layer that gave such numbers
 */
export function refuseNonFinite(logits: { type: string; data: unknown }, step: ScoredStep): void {
  if (hasFiniteData(logits)) return;
  throw new ElasticCacheError(
    'non-finite',
    `The model's scores ${stepName(step)} are not finite numbers; ${origin(step)}. Its weights are damaged or its numbers overflow: try another dtype, or fetch the model again.`,
  );
}

function stepName({ tokens, seen }: ScoredStep): string {
  return tokens === 1 ? `for token ${seen + 1}` : `for tokens ${seen + 1} to ${seen + tokens}`;
}

/** Where the first such number came up, along the way that numbers take through the model. */
function origin({ newTokens, layers, rows }: ScoredStep): string {
  if (newTokens.type.startsWith('float') && !hasFiniteData(newTokens)) {
    return 'the embeddings that the decoder was given are not either, so look at the image, the vision encoder and the embedding';
  }
  for (const [at, { keys, values, attention }] of rows.entries()) {
    const parts = { keys, values, attention: attention ?? [] };
    const part = Object.entries(parts).find(([, numbers]) => !areFinite(numbers));
    if (part) return `the first such numbers are in the ${part[0]} of layer ${layers[at]!.index}`;
  }
  return `keys and values of all layers are, so they come up in layer ${layers.at(-1)!.index} after its keys, or behind it`;
}

function hasFiniteData({ type, data }: { type: string; data: unknown }): boolean {
  if (type === 'float16' && data instanceof Uint16Array) {
    // All bits of the exponent set: NaN or infinite.
    return !data.some((bits) => (bits & 0x7c00) === 0x7c00);
  }
  return areFinite(data as ArrayLike<number>);
}

function areFinite(numbers: ArrayLike<number>): boolean {
  for (let i = 0; i < numbers.length; i++) if (!Number.isFinite(numbers[i])) return false;
  return true;
}
/**
 * Refuses a text that is longer than the mask of the original is wide. The rewritten graph would run on, with a mask of ours: what the original's would show, nobody knows.
 * @throws ElasticCacheError 'context-full'
 */
export function refuseTooLong(
  tokens: number,
  { longestText = tokens }: Pick<DecoderSignature, 'longestText'>,
): void {
  if (tokens <= longestText) return;
  throw new ElasticCacheError(
    'context-full',
    `The text has ${tokens} tokens, and this model's decoder was exported with a mask for ${longestText} at most; shorten it, or begin another conversation, or export the model again (the ONNX Runtime GenAI model builder keeps its window).`,
  );
}

/** What ONNX Runtime says of a text that is longer than a graph's tables. */
const BEYOND_TABLES = /position_ids|(cos|sin)_cache|out of (data )?(bounds|range)|broadcast/i;

/** What to throw for new tokens after `seen` that ONNX Runtime does not run: nearly always, the text is too long for the graph. */
export function refusedPass(
  { type, data }: Tensor,
  tokens: number,
  seen: number,
  cause: unknown,
): ElasticCacheError {
  const reason = reasonOf(cause);
  const index = /idx=(-?\d+)/.exec(reason)?.[1];
  const isNoToken =
    type === 'int64' && index !== undefined && (data as BigInt64Array).includes(BigInt(index));
  // A single token after others: it ran as long as the text was shorter.
  const isNext = tokens === 1 && seen > 0 && !/alloc|memory/i.test(reason);
  if (!isNoToken && (isNext || BEYOND_TABLES.test(reason))) {
    return new ElasticCacheError(
      'context-full',
      `The text has ${seen + tokens} tokens and this model's decoder does not take as many, whatever its cache keeps of them; shorten it, or begin another conversation. (${reason})`,
      { cause },
    );
  }
  return new ElasticCacheError(
    'invalid-prompt',
    `The decoder cannot run ${tokens} tokens after ${seen}; are they of this model's tokenizer? (${reason})`,
    { cause },
  );
}
