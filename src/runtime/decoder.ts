import { KVCache } from '../cache/kv-cache.js';
import { type CachePolicy, eachLayer, keepAll } from '../cache/policy.js';
import type { KeyRotation } from '../cache/rotation.js';
import { ElasticCacheError, reasonOf, refuseAborted } from '../errors.js';
import { contractNames, type DecoderSignature } from '../graph/decoder.js';
import { refuseNonFinite } from './finite.js';
import { measureKeyRotations } from './key-rotation.js';
import { type InferenceSession, Tensor } from './ort.js';
import { causalBias, concatSequence, readable, sliceSequence } from './tensors.js';

/** New tokens for the decoder. */
export interface DecoderInput {
  /** The new tokens as the decoder takes them: embeddings [B, S, hidden], or ids [B, S]. */
  newTokens: Tensor;
  /** Their positions in the text, [B, S], or [3, B, S] where the model rotates by time, row and column. */
  positionIds: Tensor;
  /** Logits of the last new token only, or of every new token. */
  logits: 'last' | 'all';
  /** Ends the run before its next pass. */
  signal?: AbortSignal | null | undefined;
}

/** A part of the new tokens that is run in one pass. */
interface Step {
  newTokens: Tensor;
  positionIds: Tensor;
  /** Tokens seen when all parts are run. */
  textLength: number;
  promptContinues: boolean;
  attention: boolean;
  logits: 'none' | 'last' | 'all';
}

const names = contractNames;

const keepingAll: CachePolicy = {
  name: 'keeping all',
  attention: 'never',
  minimum: 0,
  begin: (layers) => eachLayer(layers, () => ({ prefill: ({ tokens }) => keepAll(tokens), evict: () => -1 })),
};

/**
 * A rewritten decoder: runs new tokens over what a cache holds and appends their keys and values to it.
 * It has no state of its own, so any number of caches can take turns on one decoder.
 *
 * Past keys and values are fed from the cache's own memory and only the rows of the new tokens come back:
 * onnxruntime-node copies every output it is asked for and no input.
 */
export class Decoder {
  /** The mask of the last chunk size seen: a prompt is many chunks of one size. */
  private mask = causalBias(1, 1);
  private keyRotations: Promise<KeyRotation[]> | undefined;
  /** [layers] how many tokens a query of the layer sees, itself and those before it; undefined for all. */
  readonly windows: readonly (number | undefined)[];

  constructor(
    private readonly session: InferenceSession,
    readonly signature: DecoderSignature,
    /** New tokens of one pass at most; a longer prompt is run in pieces with the same result. */
    readonly chunk: number,
  ) {
    this.windows = signature.layers.map(({ window }) => window);
  }

  /** What a cache must be bound to: layers, and kvHeads and headDim of the keys and values. */
  get shape(): { layers: number; kvHeads: number; headDim: number } {
    const { layers } = this.signature;
    const { kvHeads, headDim } = layers[0]!;
    return { layers: layers.length, kvHeads, headDim };
  }

  /**
   * Runs the new tokens and appends their rows to `cache`, which then stands at `cache.seen + S`.
   * Returns the logits, [B, 1, vocab] or [B, S, vocab]. A run that fails midway leaves the cache empty: what it
   * holds would be part of a prompt.
   * @throws ElasticCacheError 'invalid-prompt' for no tokens, and for tokens that the graph does not run; 'non-finite' for logits that are NaN or infinite; 'aborted'
   */
  async run(cache: KVCache, input: DecoderInput): Promise<Tensor> {
    refuseNone(input.newTokens);
    const before = cache.seen;
    try {
      return await this.runInChunks(cache, input);
    } catch (error) {
      if (cache.seen !== before) cache.reset();
      throw error;
    }
  }

  /** How each layer rotates its keys; measured once, with any token. */
  private rotations(newTokens: Tensor): Promise<KeyRotation[]> {
    const { positionIds, layers, textLength } = this.signature;
    if (positionIds !== 'batch-sequence' || textLength) {
      throw new ElasticCacheError(
        'unsupported-model',
        'This decoder does not rotate keys by one position for each token, whatever the length of the text, so they cannot be turned to another; use mergedKeys "stored".',
      );
    }
    this.keyRotations ??= measureKeyRotations(async (position) => {
      const cache = new KVCache({ policy: keepingAll, budget: 1, ...this.shape });
      const dims = newTokens.dims.with(0, 1).with(1, 1);
      const data = (newTokens.data as Float32Array).slice(0, dims[2] ?? 1);
      const token = new Tensor(newTokens.type, data, dims);
      const at = new Tensor('int64', [BigInt(position)], [1, 1]);
      await this.runInChunks(cache, { newTokens: token, positionIds: at, logits: 'last' });
      return layers.map(({ index }) => cache.entries(index).keys);
    }, this.shape.headDim);
    return this.keyRotations;
  }

  /** Frees the session's memory. */
  async release(): Promise<void> {
    await this.session.release();
  }

  private async runInChunks(
    cache: KVCache,
    { newTokens, positionIds, logits, signal }: DecoderInput,
  ): Promise<Tensor> {
    const length = newTokens.dims[1]!;
    if (cache.rotationNeeded) cache.noteRotation(await this.rotations(newTokens));
    const positions = shifted(positionIds, cache.nextPosition - cache.seen);
    const textLength = cache.nextPosition + length;
    const kept: Tensor[] = [];
    const parts = cache.parts(length, this.chunk);
    if (parts.length > 1) cache.reserve(length, parts.at(-1)!.tokens);
    let start = 0;
    for (const { tokens, attention } of parts) {
      refuseAborted(signal);
      const end = start + tokens;
      const last = end === length;
      const part = await this.step(cache, {
        newTokens: sliceSequence(newTokens, 1, start, end),
        positionIds: sliceSequence(positions, positions.dims.length - 1, start, end),
        textLength,
        promptContinues: !last,
        attention,
        logits: logits === 'all' ? 'all' : last ? 'last' : 'none',
      });
      if (part) kept.push(part);
      start = end;
    }
    return concatSequence(kept);
  }

  private async step(cache: KVCache, step: Step): Promise<Tensor | undefined> {
    const [batch, tokens] = step.newTokens.dims as [number, number];
    const { attention } = step;
    const feeds = this.newFeeds(cache, step);
    const fetches: string[] = step.logits === 'none' ? [] : [names.logits];
    for (const { index, kvHeads, headDim, window } of this.signature.layers) {
      const { keys, values, bias, capacity, positions } = cache.past(index);
      feeds[names.pastKey(index)] = new Tensor('float32', keys, [batch, kvHeads, capacity, headDim]);
      feeds[names.pastValue(index)] = new Tensor('float32', values, [batch, kvHeads, capacity, headDim]);
      feeds[names.pastBias(index)] = new Tensor('float32', bias, [batch, 1, 1, capacity]);
      if (window !== undefined) {
        feeds[names.pastPosition(index)] = new Tensor('int32', positions(), [batch, capacity]);
      }
      fetches.push(names.newKey(index), names.newValue(index));
      if (attention) fetches.push(names.attention(index));
    }
    const outputs = await this.session.run(feeds, fetches).catch((cause: unknown) => {
      throw new ElasticCacheError(
        // It ran as long as the text was shorter.
        tokens === 1 && cache.seen > 0 && !/alloc|memory/i.test(reasonOf(cause))
          ? 'context-full'
          : 'invalid-prompt',
        `The decoder cannot run ${tokens} tokens after ${cache.seen}; is the text longer than the model takes? (${reasonOf(cause)})`,
        { cause },
      );
    });
    const floats = (name: string) => outputs[name]!.data as Float32Array;
    const rows = this.signature.layers.map(({ index }) => ({
      keys: floats(names.newKey(index)),
      values: floats(names.newValue(index)),
      ...(attention ? { attentionSlots: floats(names.attention(index)) } : {}),
    }));
    const logits = outputs[names.logits];
    // Before the rows go in: a cache is never left with such numbers.
    if (logits)
      refuseNonFinite(logits, { ...step, tokens, seen: cache.seen, layers: this.signature.layers, rows });
    cache.appendSlots(rows, tokens, { promptContinues: step.promptContinues });
    if (!logits) return undefined;
    const given = logits.dims[1]!;
    return step.logits === 'last' ? sliceSequence(logits, 1, given - 1, given) : logits;
  }

  /** The inputs that are not the cache. */
  private newFeeds(cache: KVCache, step: Step): Record<string, Tensor> {
    const [batch, tokens] = step.newTokens.dims as [number, number];
    if (this.mask.dims[0] !== batch || this.mask.dims[2] !== tokens) this.mask = causalBias(batch, tokens);
    const feeds: Record<string, Tensor> = {
      [this.signature.tokenInput]: readable(step.newTokens),
      [names.newBias]: this.mask,
    };
    if (this.signature.positionIds !== 'absent') feeds[names.positionIds] = step.positionIds;
    if (this.windows.some((window) => window !== undefined)) {
      const places = Int32Array.from({ length: batch * tokens }, (_, i) => cache.seen + (i % tokens));
      feeds[names.newPosition] = new Tensor('int32', places, [batch, tokens]);
    }
    if (this.signature.textLength)
      feeds[names.textLength] = new Tensor('int64', [BigInt(step.textLength)], [1]);
    for (const name of this.signature.otherInputs) {
      if (name === 'num_logits_to_keep') {
        feeds[name] = new Tensor('int64', [step.logits === 'all' ? 0n : 1n], []);
      } else {
        const length = cache.nextPosition + tokens;
        feeds[name] = new Tensor('int64', new BigInt64Array(batch * length).fill(1n), [batch, length]);
      }
    }
    return feeds;
  }
}

/** Throws `invalid-prompt` when a batch of tokens or of their embeddings, [B, S, ..], holds none. */
export function refuseNone({ dims }: Pick<Tensor, 'dims'>): void {
  if (dims[0] !== 0 && dims[1] !== 0) return;
  throw new ElasticCacheError(
    'invalid-prompt',
    `There are no tokens to run (the inputs are of shape [${dims.join(', ')}]); pass at least one.`,
  );
}

/** Positions moved by `offset`: a policy may number new tokens by what it holds. */
function shifted(positionIds: Tensor, offset: number): Tensor {
  if (offset === 0) return positionIds;
  const moved = (positionIds.data as BigInt64Array).map((position) => position + BigInt(offset));
  return new Tensor('int64', moved, positionIds.dims);
}
