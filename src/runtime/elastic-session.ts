import { Tensor, type ValueMetadata } from '#platform/ort.js';
import { ElasticCacheError } from '../errors.js';
import type { TokenInput } from '../graph/decoder.js';
import type { KVCache } from '../memory/kv-cache.js';
import type { Decoder } from './decoder.js';
import { realTokens } from './passes/new-tokens.js';
import { type RopeStages, rowsOfStages } from './passes/rope-stages.js';

/** The one cache tensor transformers.js carries from step to step: the length of its third axis is the tokens seen. */
export const CACHE_HANDLE_INPUT = 'past_key_values.0.key';
/** The name it comes back under. */
export const CACHE_HANDLE_OUTPUT = 'present.0.key';

/** What runs new tokens over what a cache holds. */
export type Runner = Pick<Decoder, 'run'>;

type Feeds = Readonly<Record<string, Tensor>>;

/** What transformers.js sees of its decoder session and runs. */
export interface BoundSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
  /**
   * One step: `inputs_embeds` [B, S, hidden], `attention_mask` [B, seen + S], zeros for padding, `position_ids` [B, S] or [3, B, S],
   * `num_logits_to_keep` (0 all, 1 the last) and the handle. Returns `logits` and the next handle.
   * Throws `prompt-mismatch` for a handle of an earlier state of its cache.
   */
  run(feeds: Feeds): Promise<Record<string, Tensor>>;
}

/**
 * Stands where transformers.js has its decoder session: it has the names of an ONNX Runtime session, and for each cache
 * one with a `run` that goes on from there.
 *
 * transformers.js keeps its cache as tensors, reads the tokens seen off the third axis, and hands them back with the
 * next tokens. So a tensor without elements, [B, 0, seen, headDim], stands for a cache; which one is known here alone.
 */
export class ElasticSession {
  readonly inputNames: readonly string[];
  readonly outputNames = ['logits', CACHE_HANDLE_OUTPUT];
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];

  private readonly caches = new WeakMap<Tensor, KVCache>();
  private readonly inUse = new WeakSet<KVCache>();
  private readonly runners = new WeakMap<KVCache, Runner>();

  constructor(
    /** Runs the tokens. */
    readonly decoder: Decoder,
    /** The tables that it rotates by, where there are several. */
    private readonly stages?: RopeStages,
  ) {
    const { headDim } = decoder.shape;
    this.inputMetadata = [
      TOKENS[decoder.signature.tokenInput],
      tensorOf('attention_mask', 'int64', ['batch_size', 'total_sequence_length']),
      tensorOf('position_ids', 'int64', ['batch_size', 'sequence_length']),
      tensorOf('num_logits_to_keep', 'int64', []),
      tensorOf(CACHE_HANDLE_INPUT, 'float32', ['batch_size', 0, 'past_sequence_length', headDim]),
    ];
    this.inputNames = this.inputMetadata.map(({ name }) => name);
    this.outputMetadata = [
      tensorOf('logits', 'float32', ['batch_size', 'sequence_length', 'vocab_size']),
      tensorOf(CACHE_HANDLE_OUTPUT, 'float32', ['batch_size', 0, 'total_sequence_length', headDim]),
    ];
  }

  /** Has another than the decoder run the tokens of a cache: one that runs those of several together. */
  runBy(cache: KVCache, runner: Runner): void {
    this.runners.set(cache, runner);
  }

  /** The tensor that stands for a cache in its present state. */
  handleOf(cache: KVCache, batch: number): Tensor {
    const { headDim } = this.decoder.shape;
    const handle = new Tensor('float32', new Float32Array(0), [batch, 0, cache.seen, headDim]);
    this.caches.set(handle, cache);
    return handle;
  }

  /** The cache behind a handle, whatever its state; undefined when the tensor is none of ours. */
  cacheOf(handle: Tensor): KVCache | undefined {
    return this.caches.get(handle);
  }

  /**
   * Runs `task`, a generation or a forward pass of `batch` prompts, with the session that goes on from `cache`, until `signal` ends it.
   * Throws `invalid-prompt` when the cache is in use, and what `claim` throws.
   */
  async using<T>(
    cache: KVCache,
    batch: number,
    task: (session: BoundSession) => Promise<T>,
    signal?: AbortSignal | null,
  ): Promise<T> {
    this.claim(cache, batch);
    if (this.inUse.has(cache)) {
      throw new ElasticCacheError(
        'invalid-prompt',
        'This cache is in use by another generate() call; wait for it, or give each call a cache of its own.',
      );
    }
    this.inUse.add(cache);
    try {
      const { inputNames, outputNames, inputMetadata, outputMetadata } = this;
      const run = (feeds: Feeds) => this.run(cache, feeds, signal);
      return await task({ inputNames, outputNames, inputMetadata, outputMetadata, run });
    } finally {
      this.inUse.delete(cache);
    }
  }

  /** Frees the decoder's memory; transformers.js calls it from `model.dispose()`. */
  async release(): Promise<void> {
    await this.decoder.release();
  }

  private async run(
    cache: KVCache,
    feeds: Feeds,
    signal: AbortSignal | null | undefined,
  ): Promise<Record<string, Tensor>> {
    const newTokens = feeds[this.decoder.signature.tokenInput]!;
    const batch = newTokens.dims[0]!;
    this.refuseOther(cache, feeds[CACHE_HANDLE_INPUT]!);
    this.claim(cache, batch);
    const runner = this.runners.get(cache) ?? this.decoder;
    const logits = await runner.run(cache, {
      newTokens,
      // transformers.js counts from 1 for some families, and only where a decoder takes positions.
      positionIds: this.decoder.signature.countsTokens
        ? positionsFrom(cache, newTokens.dims, feeds.attention_mask)
        : this.staged(cache, ownPositions(cache, feeds.position_ids!, feeds.attention_mask), feeds),
      mask: feeds.attention_mask,
      logits: feeds.num_logits_to_keep?.data[0] === 1n ? 'last' : 'all',
      signal,
    });
    return { logits, [CACHE_HANDLE_OUTPUT]: this.handleOf(cache, batch) };
  }

  /** Positions [B, S] as rows of the tables that each sequence's first prompt asks for. */
  private staged(cache: KVCache, positions: Tensor, { attention_mask: mask }: Feeds): Tensor {
    if (!this.stages) return positions;
    const [batch = 0, tokens = 0] = positions.dims;
    const fresh = realTokens(batch, tokens, mask);
    const first = fresh.map((places, row) => cache.firstTurn(row) ?? places.length);
    const rows = rowsOfStages(positions, first, this.stages);
    // How keys turn is measured by the first table.
    if (!cache.rotationNeeded || first.every((length) => length <= this.stages!.lengths[0]!)) return rows;
    throw new ElasticCacheError(
      'unsupported-model',
      `A prompt of ${Math.max(...first)} tokens is rotated more slowly than one of ${this.stages.lengths[0]} by this model, and its keys cannot be turned to another position; use mergedKeys "stored".`,
    );
  }

  /**
   * Binds the cache to this model: keys and values of one mean nothing to another, whatever their shape.
   * Throws `model-mismatch` when it is another's, `invalid-shape` when it holds another batch.
   */
  claim(cache: KVCache, batch: number): void {
    cache.bind({ ...this.decoder.shape, batch }, this.decoder.windows);
  }

  /** transformers.js makes the handle of an empty cache itself: it is none of ours and stands for nothing. */
  private refuseOther(cache: KVCache, handle: Tensor): void {
    const seen = handle.dims[2]!;
    if (seen === cache.seen) return;
    if (this.caches.has(handle)) {
      throw new ElasticCacheError(
        'prompt-mismatch',
        `This cache has moved on: it has seen ${cache.seen} tokens, and these inputs continue from ${seen}. Give each generate() call a cache of its own.`,
      );
    }
    throw new ElasticCacheError(
      'model-mismatch',
      `past_key_values holds ${seen} tokens of another model; pass an ElasticCache, or what this model's generate() returned.`,
    );
  }
}

/** What transformers.js hands a decoder as new tokens. */
const TOKENS: Readonly<Record<TokenInput, ValueMetadata>> = {
  inputs_embeds: tensorOf('inputs_embeds', 'float32', ['batch_size', 'sequence_length', 'hidden_size']),
  input_ids: tensorOf('input_ids', 'int64', ['batch_size', 'sequence_length']),
};

function tensorOf(name: string, type: ValueMetadata['type'], shape: ValueMetadata['shape']): ValueMetadata {
  return { name, isTensor: true, type, shape };
}

/**
 * transformers.js forgets the padding of a batch when it writes, and numbers new tokens by their column; here each sequence goes on from its own last token.
 * @param positions [B, S] as given, or [3, B, S], which are left as they are
 */
function ownPositions(cache: KVCache, positions: Tensor, mask: Tensor | undefined): Tensor {
  const [batch = 0, tokens = 0, rest] = positions.dims;
  const known = (mask?.data as BigInt64Array | undefined)?.includes(0n) ?? false;
  if (rest !== undefined || tokens !== 1 || known) return positions;
  const padding = Array.from({ length: batch }, (_, row) => cache.seen - cache.seenBy(row));
  if (padding.every((columns) => columns === 0)) return positions;
  const own = (positions.data as BigInt64Array).map((position, row) => position - BigInt(padding[row]!));
  return new Tensor('int64', own, positions.dims);
}

/** Positions [B, S] of new tokens `dims` [B, S, hidden], counted from 0 in each sequence; 0 for padding. */
function positionsFrom(
  cache: KVCache,
  [batch = 0, tokens = 0]: readonly number[],
  mask: Tensor | undefined,
): Tensor {
  const positions = new BigInt64Array(batch * tokens);
  realTokens(batch, tokens, mask).forEach((places, row) => {
    places.forEach((place, index) => {
      positions[row * tokens + place] = BigInt(cache.seenBy(row) + index);
    });
  });
  return new Tensor('int64', positions, [batch, tokens]);
}
