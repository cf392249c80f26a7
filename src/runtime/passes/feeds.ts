import { Tensor } from '#platform/ort.js';
import { type DecoderSignature, contractNames as names } from '../../graph/decoder.js';
import type { Batch } from '../../memory/lane-pool.js';
import type { Rows } from '../../memory/rows/formats.js';
import { causalBias, heldTensor, readable } from '../tensors.js';

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

  constructor(private readonly signature: DecoderSignature) {}

  of(cache: Batch, pass: Pass): Feeds {
    const feeds = this.newTokens(cache, pass);
    const batch = pass.newTokens.dims[0]!;
    for (const { index, window } of this.signature.layers) {
      this.past(feeds, cache, index, batch, pass.row);
      if (window === undefined) continue;
      const positions = cache.positions(index, pass.row);
      const dims = [batch, cache.biases, positions.length / (batch * cache.biases)];
      feeds[names.pastPosition(index)] = new Tensor('int32', positions, dims);
    }
    return feeds;
  }

  private past(feeds: Feeds, cache: Batch, layer: number, batch: number, row: number | undefined): void {
    const { past: format, layers } = this.signature;
    const { kvHeads, headDim } = layers[layer]!;
    const { keys, values, bias, capacity } = cache.past(layer, row);
    const rows = (from: Rows) => heldTensor(format, from.numbers, [batch, kvHeads, capacity, headDim]);
    feeds[names.pastKey(layer)] = rows(keys);
    feeds[names.pastValue(layer)] = rows(values);
    if (keys.scales && values.scales) {
      const dims = [batch, kvHeads, capacity, 1];
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
