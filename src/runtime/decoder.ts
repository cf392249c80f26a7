import { type InferenceSession, Tensor } from '#platform/ort.js';
import type { CachePolicy } from '../cache/policy.js';
import { eachLayer, keepAll } from '../cache/policy.js';
import { ElasticCacheError } from '../errors.js';
import { contractNames, type DecoderSignature, MASK } from '../graph/decoder.js';
import { KVCache } from '../memory/kv-cache.js';
import type { Batch } from '../memory/lane-pool.js';
import type { LayerRows } from '../memory/shape.js';
import type { KeyRotation } from '../memory/turns/rotation.js';
import { measureKeyRotations } from './keys/rotation.js';
import { SimilarKeyFinder } from './keys/similar.js';
import { Feeder, type Pass } from './passes/feeds.js';
import { type DecoderInput, realTokens, refuseNone, type StepInput, shifted } from './passes/new-tokens.js';
import { fetchesOf, layerRows } from './passes/outputs.js';
import { ended, readTurn } from './passes/read-turn.js';
import type { PeakMemory } from './passes/reader.js';
import { refusedPass, refuseNonFinite, refuseTooLong } from './passes/refused-steps.js';
import { gatherSequence, scatterRows, sliceSequence } from './tensors.js';

const names = contractNames;

/** The policy of a cache that holds what it is given. */
export const keepingAll: CachePolicy = {
  name: 'keeping all',
  attention: 'never',
  minimum: 0,
  begin: () => eachLayer({ compress: ({ tokens }) => keepAll(tokens), evict: () => -1 }),
};

/**
 * A rewritten decoder: runs new tokens over what a cache holds and appends their keys and values to it.
 * It has no state of its own, so any number of caches can take turns on one decoder.
 *
 * Past keys and values are fed from the cache's own memory and only the rows of the new tokens come back:
 * onnxruntime-node copies every output it is asked for and no input. Turns of several tokens are read one sequence after the other, each as if it were alone: prompts of a
 * batch may differ in length, and padding costs nothing. Single tokens of all sequences are one pass.
 */
export class Decoder {
  private readonly feeder: Feeder;
  private keyRotations: Promise<KeyRotation[]> | undefined;
  /** [layers] how many tokens a query of the layer sees, itself and those before it; undefined for all. */
  readonly windows: readonly (number | undefined)[];

  constructor(
    private readonly session: InferenceSession,
    readonly signature: DecoderSignature,
    /** New tokens of one pass at most; a longer prompt is run in pieces with the same result. */
    readonly chunk: number,
    /** What tells the model from others of its shape. */
    private readonly model = '',
    /** Finds whom a policy merges. */
    readonly similar = new SimilarKeyFinder(),
    /** Whether a prompt is held whole until it is read, or no more of it than is kept and one chunk. */
    readonly peak: PeakMemory = 'prompt',
    /** Whether layers that can write in place do, where they run on a GPU. */
    inPlace = false,
    /** What runs otherwise than it is meant to, in sentences. */
    readonly notes: readonly string[] = [],
  ) {
    this.feeder = new Feeder(signature, session.gpu, inPlace);
    this.windows = signature.layers.map(({ window }) => window);
  }

  /** What a cache must be bound to. */
  get shape() {
    const { layers, past, stockPast } = this.signature;
    const { kvHeads, headDim } = layers[0]!;
    return {
      layers: layers.length,
      kvHeads,
      headDim,
      format: past,
      stockFormat: stockPast,
      model: this.model,
    };
  }

  /**
   * Runs the new tokens and appends their rows to `cache`. Returns the logits, [B, 1, vocab] or [B, S, vocab]; those of padding are zeros, and the last ones
   * those of the last token that is none.
   *
   * A run that fails leaves a cache of one sequence as it was; of several, those that have read their tokens cannot be brought back, and all are forgotten. So is one whose turn was
   * compressed in part (`peak: 'bounded'`).
   * @throws ElasticCacheError 'invalid-prompt' for no tokens, and for tokens that the graph does not run; 'non-finite' for logits that are NaN or infinite; 'aborted'
   */
  async run(cache: KVCache, input: DecoderInput): Promise<Tensor> {
    refuseNone(input.newTokens);
    const [batch, tokens] = input.newTokens.dims as [number, number, number];
    const real = realTokens(batch, tokens, input.mask);
    const seen = () => Array.from({ length: cache.batch }, (_, row) => cache.seenBy(row));
    const before = seen();
    try {
      await this.prepare(cache, input);
      if (tokens === 1 && cache.begun) return await this.step(cache, input);
      return await this.turns(cache, input, real);
    } catch (error) {
      cache.abandon();
      if (seen().some((tokens, row) => tokens !== before[row])) cache.reset();
      throw error;
    }
  }

  /**
   * Reads a turn of one sequence part by part: each `next()` is one pass, and others may run between them. What is not read to its end is let go by `return()`, and the
   * cache is then as it was; where the peak is bounded and a part of it was compressed, it is forgotten with what was held.
   * @returns the logits, as {@link run}
   * @throws ElasticCacheError as {@link run}
   */
  async *read(cache: KVCache, input: DecoderInput): AsyncGenerator<void, Tensor> {
    refuseNone(input.newTokens);
    const end = cache.seen + input.newTokens.dims[1]!;
    const before = cache.seen;
    try {
      await this.prepare(cache, input);
      return yield* readTurn(this, cache, 0, input);
    } finally {
      // Of a turn that is complete nothing is left to let go.
      cache.abandon();
      if (cache.seen > before && cache.seen < end) cache.reset();
    }
  }

  private async prepare(cache: KVCache, { newTokens }: DecoderInput): Promise<void> {
    if (cache.rotationNeeded) cache.noteRotation(await this.rotations(newTokens));
  }

  /** What {@link chunk} is where so many rows are attended to: the scores of a layer are one buffer, and GPUs set a limit to these. */
  chunkFor(rows: number): number {
    const limit = this.session.gpu?.device.limits.maxStorageBufferBindingSize;
    if (limit === undefined) return this.chunk;
    const scores = Float32Array.BYTES_PER_ELEMENT * this.signature.layers[0]!.queryHeads * rows;
    return Math.max(1, Math.min(this.chunk, Math.floor(limit / scores)));
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
      await ended(readTurn(this, cache, 0, { newTokens: token, positionIds: at, logits: 'last' }));
      return layers.map(({ index }) => cache.entries(index).keys);
    }, this.shape.headDim);
    return this.keyRotations;
  }

  /** What to throw where a run of the model failed since the GPU is gone; undefined where it is there, or was never needed. */
  async lost(): Promise<Error | undefined> {
    return this.session.gpu?.lost();
  }

  /** Frees the session's memory. */
  async release(): Promise<void> {
    this.feeder.release();
    await Promise.all([this.session.release(), this.similar.release()]);
  }

  /** Each sequence reads its new tokens. */
  private async turns(cache: KVCache, input: DecoderInput, real: readonly number[][]): Promise<Tensor> {
    const { newTokens, positionIds, logits, signal } = input;
    if (real.length === 1 && real[0]!.length === newTokens.dims[1])
      return ended(readTurn(this, cache, 0, input));
    const before = cache.seen;
    const rows: Tensor[] = [];
    for (const [row, tokens] of real.entries()) {
      const own = {
        newTokens: gatherSequence(newTokens, 0, row, tokens),
        positionIds: gatherSequence(positionIds, positionIds.dims.length - 2, row, tokens),
        logits,
        signal,
      };
      const single = tokens.length === 1 && cache.seenBy(row) > 0;
      rows.push(
        single ? await this.stepAlone(cache, row, own) : await ended(readTurn(this, cache, row, own)),
      );
    }
    cache.noteColumns(before + newTokens.dims[1]!);
    return logits === 'last' ? concatRows(rows) : scatterRows(rows, real, newTokens.dims[1]!);
  }

  /** One new token of every sequence, [B, 1, ..]; logits [B, 1, vocab]. A pass that fails leaves all of them as they were. @throws ElasticCacheError as {@link run} */
  async step(cache: Batch, { newTokens, positionIds }: StepInput): Promise<Tensor> {
    const rows = Array.from({ length: cache.batch }, (_, row) => row);
    for (const row of rows) refuseTooLong(cache.seenBy(row) + 1, this.signature);
    const lengths = rows.map((row) => cache.nextPosition(row) + 1);
    const positions = shifted(
      positionIds,
      rows.map((row) => cache.nextPosition(row) - cache.seenBy(row)),
    );
    // A graph that reads the length of the text, or of its mask, takes one for all of a batch.
    const { textLength, otherInputs } = this.signature;
    const oneLength = textLength || otherInputs.includes(MASK);
    if (oneLength && lengths.some((length) => length !== lengths[0])) {
      const logits: Tensor[] = [];
      for (const row of rows) {
        logits.push(
          await this.stepAlone(cache, row, {
            newTokens: gatherSequence(newTokens, 0, row, [0]),
            positionIds: gatherSequence(positionIds, positionIds.dims.length - 2, row, [0]),
          }),
        );
      }
      return concatRows(logits);
    }
    const { layers, logits, isInPlace } = await this.pass(cache, {
      newTokens,
      positionIds: positions,
      textLength: Math.max(...lengths),
      observed: cache.policy.attention === 'always' ? 1 : 0,
      logits: 'last',
    });
    cache.appendStep(layers);
    if (isInPlace) this.feeder.appended(cache);
    return logits!;
  }

  /** One new token of one sequence of several. */
  async stepAlone(cache: Batch, row: number, { newTokens, positionIds }: StepInput): Promise<Tensor> {
    refuseTooLong(cache.seenBy(row) + 1, this.signature);
    const { layers, logits } = await this.pass(cache, {
      newTokens,
      positionIds: shifted(positionIds, [cache.nextPosition(row) - cache.seenBy(row)]),
      textLength: cache.nextPosition(row) + 1,
      observed: cache.policy.attention === 'always' ? 1 : 0,
      logits: 'last',
      row,
    });
    cache.appendStep(layers, [row]);
    return logits!;
  }

  /** One pass over the graph, whose rows are not in the cache yet. */
  async pass(
    cache: KVCache | Batch,
    pass: Pass,
  ): Promise<{ layers: LayerRows[]; logits: Tensor | undefined; isInPlace: boolean }> {
    const [batch, tokens] = pass.newTokens.dims as [number, number, number];
    const { feeds, bound } = this.feeder.of(cache, pass);
    const fetches = fetchesOf(this.signature, cache, pass, bound);
    const seen = Math.max(...Array.from({ length: batch }, (_, row) => cache.seenBy(pass.row ?? row)));
    const outputs = await this.session.run(feeds, fetches).catch((cause: unknown) => {
      if (cause instanceof ElasticCacheError) throw cause;
      throw refusedPass(pass.newTokens, tokens, seen, cause);
    });
    const layers = layerRows(this.signature, cache, pass, outputs, bound);
    const logits = pass.logits === 'none' ? undefined : (outputs[names.logits] as Tensor);
    // Before the rows go in: a cache is never left with such numbers.
    if (logits) {
      const { newTokens } = pass;
      refuseNonFinite(logits, { newTokens, tokens, seen, layers: this.signature.layers, rows: layers });
    }
    const given = logits?.dims[1] ?? 0;
    return {
      layers,
      isInPlace: Object.keys(bound).length > 0,
      logits: logits && pass.logits === 'last' ? sliceSequence(logits, 1, given - 1, given) : logits,
    };
  }
}

/** Logits [1, 1, V] of each sequence as [B, 1, V]. */
function concatRows(rows: readonly Tensor[]): Tensor {
  return scatterRows(
    rows,
    rows.map(() => [0]),
    1,
  );
}
