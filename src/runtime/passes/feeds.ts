import { Tensor } from '#platform/ort.js';
import { type DecoderSignature, contractNames as names } from '../../graph/decoder.js';
import type { Batch } from '../../memory/lane-pool.js';
import type { Rows } from '../../memory/rows/formats.js';
import { type PastRows, RowBlock } from '../../memory/rows/row-block.js';
import type { Gpu } from '../../platform/ort.js';
import { causalBias, heldTensor, readable } from '../tensors.js';
import { DevicePast, type Fed } from './device-past.js';
import { notInPlace } from './in-place.js';

/** A pass over the graph: a part of one sequence's turn, or one new token of each. */
export interface Pass {
  /** Ids [B, S] or embeddings [B, S, hidden], as the decoder takes them. */
  newTokens: Tensor;
  positionIds: Tensor;
  /** Tokens seen when the turn is read. */
  textLength: number;
  /** How many of the last new tokens the attention is asked of. */
  observed: number;
  logits: 'none' | 'last' | 'all';
  /** The sequence that is run alone; undefined for all. */
  row?: number;
}

export type Feeds = Record<string, Tensor>;

/** Makes what a rewritten decoder is fed. */
export class Feeder {
  /** The mask of the last size seen: a prompt is many parts of one size. */
  private mask = causalBias(1, 1);

  private readonly device: DevicePast | undefined;

  /**
   * @param gpu what the decoder runs on, where its memory is ours to write
   * @param inPlace whether steps may write there themselves
   */
  constructor(
    private readonly signature: DecoderSignature,
    gpu: Gpu | undefined,
    private readonly inPlace: boolean,
  ) {
    this.device = gpu && new DevicePast(gpu, signature);
  }

  /** Lets what was copied for passes go. */
  release(): void {
    this.device?.release();
  }

  /** Tells that a cache has the row that its last step wrote where the past lies. */
  appended(cache: Batch): void {
    this.device?.appended(cache);
  }

  of(cache: Batch, pass: Pass): Fed {
    const feeds = this.newTokens(cache, pass);
    const batch = pass.newTokens.dims[0]!;
    // What a turn attends to is fed once, and is another with its next part.
    const isStep = pass.newTokens.dims[1] === 1 && pass.row === undefined;
    const peak = cache.policy.peak === true && pass.observed > 0;
    const onDevice = isStep ? this.device?.fed(cache, this.inPlace && !peak) : undefined;
    Object.assign(feeds, notInPlace(this.signature.layers, batch), onDevice?.feeds);
    for (const { index, window } of this.signature.layers) {
      const past = this.fed(cache.past(index, pass.row), index, batch, cache.biases);
      if (!onDevice) this.past(feeds, cache, index, batch, past);
      if (window === undefined || feeds[names.pastPosition(index)]) continue;
      const positions = new Int32Array(batch * cache.biases * past.capacity);
      positions.set(cache.positions(index, pass.row));
      const dims = [batch, cache.biases, past.capacity];
      feeds[names.pastPosition(index)] = new Tensor('int32', positions, dims);
    }
    return { feeds, bound: onDevice?.bound ?? {} };
  }

  /** The rows that are fed as the past of a layer: those that are there, and on a GPU an empty one where there are none. */
  private fed(past: PastRows, layer: number, batch: number, biases: number): PastRows {
    if (past.capacity > 0 || this.signature.target === 'host') return past;
    const { kvHeads, headDim } = this.signature.layers[layer]!;
    return new RowBlock({ lanes: batch, kvHeads, headDim, format: this.signature.past, biases }, 1);
  }

  private past(feeds: Feeds, cache: Batch, layer: number, batch: number, past: PastRows): void {
    const { past: format, layers } = this.signature;
    const { headDim } = layers[layer]!;
    const { keys, values, bias, capacity, layout } = past;
    const { heads } = layout;
    const rows = (from: Rows) => heldTensor(format, from.numbers, [batch, heads, capacity, headDim]);
    feeds[names.pastKey(layer)] = rows(keys);
    feeds[names.pastValue(layer)] = rows(values);
    if (keys.scales && values.scales) {
      const dims = [batch, heads, capacity, 1];
      feeds[names.pastKeyScale(layer)] = new Tensor('float32', keys.scales, dims);
      feeds[names.pastValueScale(layer)] = new Tensor('float32', values.scales, dims);
    }
    feeds[names.pastBias(layer)] = new Tensor('float32', bias, [batch, cache.biases, 1, capacity]);
  }

  /** The inputs that are not the past. */
  private newTokens(
    cache: Batch,
    { newTokens, positionIds, logits, textLength, observed, row }: Pass,
  ): Feeds {
    const { signature } = this;
    const [batch, tokens] = newTokens.dims as [number, number];
    if (this.mask.dims[0] !== batch || this.mask.dims[2] !== tokens) this.mask = causalBias(batch, tokens);
    const queries = (count: number) => new Tensor('int64', [BigInt(count)], [1]);
    const { peak = false } = cache.policy;
    const feeds: Feeds = {
      [signature.tokenInput]: readable(newTokens),
      [names.newBias]: this.mask,
      [names.attentionQueries]: queries(peak ? 0 : observed),
      [names.peakQueries]: queries(peak ? observed : 0),
    };
    if (signature.positionIds !== 'absent') feeds[names.positionIds] = positionIds;
    if (signature.layers.some(({ window }) => window !== undefined)) {
      const places = Int32Array.from(
        { length: batch * tokens },
        (_, i) => cache.seenBy(row ?? Math.floor(i / tokens)) + (i % tokens),
      );
      feeds[names.newPosition] = new Tensor('int32', places, [batch, tokens]);
    }
    if (signature.textLength) feeds[names.textLength] = new Tensor('int64', [BigInt(textLength)], [1]);
    for (const name of signature.otherInputs) {
      feeds[name] =
        name === 'num_logits_to_keep'
          ? new Tensor('int64', [logits === 'all' ? 0n : 1n], [])
          : wholeMask(cache, batch, tokens, row);
    }
    return feeds;
  }
}

/** `attention_mask` [B, tokens seen + S] of a decoder that counts positions by it: a sequence that has seen fewer has zeros before. */
function wholeMask(cache: Batch, batch: number, tokens: number, row: number | undefined): Tensor {
  const seen = Array.from({ length: batch }, (_, lane) => cache.nextPosition(row ?? lane) + tokens);
  const length = Math.max(...seen);
  const data = new BigInt64Array(batch * length).fill(1n);
  seen.forEach((own, lane) => void data.fill(0n, lane * length, (lane + 1) * length - own));
  return new Tensor('int64', data, [batch, length]);
}
