import { InferenceSession, Tensor } from '#platform/ort.js';
import { contractNames } from '../../src/graph/decoder.js';
import { type Model, serializeModel } from '../../src/graph/onnx/onnx.js';
import type { DecoderSignature } from '../../src/graph/rewrite.js';
import { KVCache } from '../../src/memory/kv-cache.js';
import type { KVCacheOptions } from '../../src/memory/shape.js';
import { Decoder } from '../../src/runtime/decoder.js';
import { inPlaceFeeds, notInPlace } from '../../src/runtime/passes/in-place.js';
import { byHead, readable } from '../../src/runtime/tensors.js';
import { Float16Array } from './float16.js';

/** What one pass over S new tokens gave. */
export interface Step {
  /** [S * vocab] */
  logits: Float32Array;
  /** Per layer [kvHeads, T]: attention received, summed over the new queries, averaged over the query heads of each key head. */
  attention: Float32Array[];
  /** Per layer [kvHeads, T]: the most received from one of the new queries other than the token's own, averaged likewise. */
  peak: Float32Array[];
}

export async function openModel(model: Model): Promise<InferenceSession> {
  return InferenceSession.create(serializeModel(model), { logSeverityLevel: 3 });
}

/** Runs an original decoder as transformers.js does: what comes out as present goes in as past. */
export class OriginalRun {
  private past: Record<string, Tensor> = {};
  private seen = 0;

  constructor(
    private readonly session: InferenceSession,
    private readonly decoder: Pick<DecoderSignature, 'layers' | 'positionIds'>,
    private readonly hidden: number,
    private readonly half = false,
  ) {
    for (const { index, kvHeads, headDim } of decoder.layers) {
      for (const part of ['key', 'value']) {
        this.past[`past_key_values.${index}.${part}`] = floats(
          new Float32Array(0),
          [1, kvHeads, 0, headDim],
          half,
        );
      }
    }
  }

  /** @param observed how many of the last new queries attention is asked of */
  async step(embeds: Float32Array, observed = embeds.length / this.hidden): Promise<Step> {
    const tokens = embeds.length / this.hidden;
    const total = this.seen + tokens;
    const feeds: Record<string, Tensor> = {
      inputs_embeds: floats(embeds, [1, tokens, this.hidden], this.half),
      attention_mask: new Tensor('int64', new BigInt64Array(total).fill(1n), [1, total]),
      ...this.past,
    };
    const takes = (name: string) => this.session.inputNames.includes(name);
    if (takes('position_ids')) feeds.position_ids = positions(this.decoder, this.seen, tokens);
    if (takes('use_cache_branch')) feeds.use_cache_branch = new Tensor('bool', [this.seen > 0], [1]);
    const outputs = await this.session.run(feeds);
    for (const name of Object.keys(this.past))
      this.past[name] = readable(outputs[name.replace('past_key_values', 'present')]!);
    this.seen = total;
    return {
      logits: numbers(outputs.logits!),
      attention: this.received(outputs, tokens, total, observed, (given) =>
        given.reduce((sum, each) => sum + each, 0),
      ),
      peak: this.received(outputs, tokens, total, observed, (given, own) =>
        Math.max(0, ...given.toSpliced(own, own < 0 ? 0 : 1)),
      ),
    };
  }

  /** @param of what a token is said to have received, of what each query asked for gave it; `own` is the query that it is itself, -1 for none */
  private received(
    outputs: Record<string, Tensor>,
    tokens: number,
    total: number,
    observed: number,
    of: (given: number[], own: number) => number,
  ): Float32Array[] {
    return this.decoder.layers.flatMap(({ index, queryHeads, kvHeads }) => {
      const probabilities = outputs[`probabilities.${index}`];
      if (!probabilities) return [];
      if (observed === 0) return [new Float32Array(0)];
      const values = numbers(probabilities);
      const group = queryHeads / kvHeads;
      const received = new Float32Array(kvHeads * total);
      for (let head = 0; head < queryHeads; head++) {
        for (let t = 0; t < total; t++) {
          const given = Array.from(
            { length: observed },
            (_, query) => values[(head * tokens + tokens - observed + query) * total + t]!,
          );
          const own = Math.max(-1, t - (total - observed));
          received[Math.floor(head / group) * total + t]! += of(given, own) / group;
        }
      }
      return [received];
    });
  }
}

/** Runs a rewritten decoder over a cache that only ever grows: past and new rows, concatenated. */
export class RewrittenRun {
  private readonly keys: Float32Array[];
  private readonly values: Float32Array[];
  private seen = 0;

  constructor(
    private readonly session: InferenceSession,
    private readonly decoder: DecoderSignature,
    private readonly hidden: number,
    private readonly half = false,
    /** How layers that can write in place do, one token at a time, if they do: the rows of each head by themselves, or of all as one head's. */
    private readonly inPlace: 'even' | 'packed' | undefined = undefined,
  ) {
    this.keys = decoder.layers.map(() => new Float32Array(0));
    this.values = decoder.layers.map(() => new Float32Array(0));
  }

  async step(embeds: Float32Array, wanted = embeds.length / this.hidden): Promise<Step> {
    const tokens = embeds.length / this.hidden;
    const writes = this.inPlace !== undefined && tokens === 1;
    const observed = writes && this.inPlace === 'packed' ? 0 : wanted;
    const feeds: Record<string, Tensor> = {
      [this.decoder.tokenInput]: floats(embeds, [1, tokens, this.hidden], this.half),
      [contractNames.newBias]: new Tensor('float32', causal(tokens), [1, 1, tokens, tokens]),
      [contractNames.attentionQueries]: new Tensor('int64', [BigInt(observed)], [1]),
      [contractNames.peakQueries]: new Tensor('int64', [BigInt(observed)], [1]),
    };
    if (this.decoder.otherInputs.includes('attention_mask')) {
      const total = this.seen + tokens;
      feeds.attention_mask = new Tensor('int64', new BigInt64Array(total).fill(1n), [1, total]);
    }
    if (this.decoder.otherInputs.includes('num_logits_to_keep'))
      feeds.num_logits_to_keep = new Tensor('int64', [0n], []);
    if (this.decoder.textLength)
      feeds[contractNames.textLength] = new Tensor('int64', [BigInt(this.seen + tokens)], [1]);
    if (this.decoder.positionIds !== 'absent')
      feeds[contractNames.positionIds] = positions(this.decoder, this.seen, tokens);
    if (this.decoder.layers.some(({ window }) => window !== undefined))
      feeds[contractNames.newPosition] = places(this.seen, tokens);
    Object.assign(feeds, notInPlace(this.decoder.layers, 1));
    // No bias is other than 0, and both ways come to the same.
    if (writes)
      Object.assign(
        feeds,
        inPlaceFeeds(this.decoder.layers, { packed: this.inPlace === 'packed', biased: this.seen % 2 === 1 }),
      );
    this.decoder.layers.forEach(({ index, kvHeads, headDim, window, inPlace }, i) => {
      if (writes && this.inPlace === 'packed') {
        this.feedPacked(feeds, i);
        return;
      }
      const room = writes && inPlace ? ROOM : 0;
      const rows = this.seen + room;
      const dims = [1, kvHeads, rows, headDim];
      if (window !== undefined) feeds[contractNames.pastPosition(index)] = places(0, rows, [1, 1, rows]);
      const { pastKey, pastValue, pastKeyScale, pastValueScale } = contractNames;
      const roomy = (past: Float32Array) =>
        join(past, new Float32Array(kvHeads * room * headDim), kvHeads, this.seen, room, headDim);
      this.feed(feeds, pastKey(index), pastKeyScale(index), roomy(this.keys[i]!), dims);
      this.feed(feeds, pastValue(index), pastValueScale(index), roomy(this.values[i]!), dims);
      const bias = new Float32Array(rows);
      if (room > 0) {
        bias.fill(Number.NEGATIVE_INFINITY, this.seen + 1);
        feeds[contractNames.held(index)] = new Tensor('int32', [this.seen], [1]);
        feeds[contractNames.total(index)] = new Tensor('int64', [BigInt(this.seen + 1)], [1]);
      }
      feeds[contractNames.pastBias(index)] = new Tensor('float32', bias, [1, 1, 1, rows]);
    });
    const outputs = await this.session.run(feeds);
    this.decoder.layers.forEach(({ index, kvHeads, headDim, inPlace }, i) => {
      const joined = (past: Float32Array, rows: Tensor) => {
        const given = inPlace ? byHead(numbers(rows), 1, tokens, kvHeads) : numbers(rows);
        return join(past, given, kvHeads, this.seen, tokens, headDim);
      };
      this.keys[i] = joined(this.keys[i]!, outputs[contractNames.newKey(index)]!);
      this.values[i] = joined(this.values[i]!, outputs[contractNames.newValue(index)]!);
    });
    if (writes && this.inPlace === 'even') this.refuseOtherMemory(outputs);
    if (writes && this.inPlace === 'packed') this.refuseOtherEnd(outputs);
    this.seen += tokens;
    return {
      logits: numbers(outputs[contractNames.logits]!),
      attention: this.decoder.layers.map(({ index, kvHeads, inPlace }) => {
        const given = numbers(outputs[contractNames.attention(index)]!);
        return writes && inPlace && this.inPlace === 'even' ? firstOf(given, kvHeads, this.seen) : given;
      }),
      peak: this.decoder.layers.map(({ index }) => numbers(outputs[contractNames.peak(index)]!)),
    };
  }

  /** Where a layer writes in place, the new row is the first of the room behind those that are held. */
  private refuseOtherMemory(outputs: Record<string, Tensor>): void {
    this.decoder.layers.forEach(({ index, kvHeads, inPlace }, i) => {
      if (!inPlace) return;
      const pairs = [
        [contractNames.presentKey(index), this.keys[i]!],
        [contractNames.presentValue(index), this.values[i]!],
      ] as const;
      for (const [name, rows] of pairs) {
        const size = rows.length / kvHeads;
        const given = firstOf(numbers(outputs[name]!), kvHeads, size);
        if (given.some((value, at) => value !== rows[at])) throw new Error(`${name} has other rows`);
      }
    });
  }

  /** The past of a layer as one head's, with room for a row of each head behind it. */
  private feedPacked(feeds: Record<string, Tensor>, layer: number): void {
    const { index, kvHeads, headDim, window } = this.decoder.layers[layer]!;
    const held = kvHeads * this.seen;
    const rows = held + kvHeads;
    const { pastKey, pastValue, pastKeyScale, pastValueScale, pastBias } = contractNames;
    const roomy = (past: Float32Array) => {
      const all = new Float32Array(rows * headDim);
      all.set(past);
      return all;
    };
    const dims = [1, 1, rows, headDim];
    this.feed(feeds, pastKey(index), pastKeyScale(index), roomy(this.keys[layer]!), dims);
    this.feed(feeds, pastValue(index), pastValueScale(index), roomy(this.values[layer]!), dims);
    const bias = new Float32Array(kvHeads * rows).fill(Number.NEGATIVE_INFINITY);
    for (let head = 0; head < kvHeads; head++) {
      bias.fill(0, head * rows + head * this.seen, head * rows + (head + 1) * this.seen);
      bias[head * rows + held + head] = 0;
    }
    feeds[pastBias(index)] = new Tensor('float32', bias, [1, kvHeads, 1, rows]);
    if (window !== undefined) {
      const at = Int32Array.from({ length: kvHeads * rows }, (_, i) =>
        i % rows < held ? (i % rows) % this.seen : this.seen,
      );
      feeds[contractNames.pastPosition(index)] = new Tensor('int32', at, [1, kvHeads, rows]);
    }
    feeds[contractNames.held(index)] = new Tensor('int32', [rows - 1], [1]);
    feeds[contractNames.total(index)] = new Tensor('int64', [BigInt(rows)], [1]);
  }

  /** Where the rows of all heads lie as one head's, the new ones are the last of them. */
  private refuseOtherEnd(outputs: Record<string, Tensor>): void {
    for (const { index, kvHeads, headDim } of this.decoder.layers) {
      for (const [present, added] of [
        [contractNames.presentKey(index), contractNames.newKey(index)],
        [contractNames.presentValue(index), contractNames.newValue(index)],
      ] as const) {
        const given = numbers(outputs[present]!).slice(-kvHeads * headDim);
        if (given.join() !== numbers(outputs[added]!).join()) throw new Error(`${present} has other rows`);
      }
    }
  }

  /** Past rows in the format that the decoder takes them in; int8 as whole numbers and, for each row, what they are times. */
  private feed(
    feeds: Record<string, Tensor>,
    name: string,
    scaleName: string,
    rows: Float32Array,
    dims: readonly number[],
  ): void {
    const size = dims.at(-1)!;
    if (this.decoder.past !== 'int8') {
      feeds[name] = floats(rows, [...dims], this.decoder.past === 'float16');
      return;
    }
    const scales = Float32Array.from({ length: rows.length / size }, (_, row) => {
      const own = rows.subarray(row * size, (row + 1) * size);
      return Math.max(...own.map(Math.abs)) / 127;
    });
    const whole = Int8Array.from(rows, (value, i) => Math.round(value / scales[Math.floor(i / size)]!));
    feeds[name] = new Tensor('int8', whole, dims);
    feeds[scaleName] = new Tensor('float32', scales, [...dims.slice(0, -1), 1]);
  }
}

/** Runs a rewritten decoder as the library does: the real runtime over the real cache, whatever its policy and budget. */
export class CachedRun {
  readonly cache: KVCache;
  private readonly decoder: Decoder;

  /** @param chunk new tokens of one pass at most */
  constructor(
    session: InferenceSession,
    private readonly signature: DecoderSignature,
    options: Pick<KVCacheOptions, 'policy' | 'budget'>,
    private readonly hidden: number,
    chunk: number,
    private readonly half = false,
  ) {
    this.decoder = new Decoder(session, signature, chunk);
    this.cache = new KVCache({ ...options, ...this.decoder.shape });
  }

  /** Appends tokens and returns the logits of all of them, [S * vocab]. */
  async step(embeds: Float32Array): Promise<Float32Array> {
    const tokens = embeds.length / this.hidden;
    const logits = await this.decoder.run(this.cache, {
      newTokens: floats(embeds, [1, tokens, this.hidden], this.half),
      positionIds: positions(this.signature, this.cache.seen, tokens),
      logits: 'all',
    });
    return numbers(logits);
  }
}

/** Rows behind those that are held, where a pass writes in place. */
const ROOM = 3;

/** The first `width` numbers of each of `count` rows. */
function firstOf(numbers: Float32Array, count: number, width: number): Float32Array {
  const size = numbers.length / count;
  const given = new Float32Array(count * width);
  for (let row = 0; row < count; row++)
    given.set(numbers.subarray(row * size, row * size + width), row * width);
  return given;
}

/** Past [kvHeads, seen, headDim] and rows [kvHeads, tokens, headDim] as [kvHeads, seen + tokens, headDim]. */
function join(
  past: Float32Array,
  rows: Float32Array,
  kvHeads: number,
  seen: number,
  tokens: number,
  headDim: number,
) {
  const whole = new Float32Array(past.length + rows.length);
  for (let head = 0; head < kvHeads; head++) {
    const start = head * (seen + tokens) * headDim;
    whole.set(past.subarray(head * seen * headDim, (head + 1) * seen * headDim), start);
    whole.set(rows.subarray(head * tokens * headDim, (head + 1) * tokens * headDim), start + seen * headDim);
  }
  return whole;
}

function causal(tokens: number): Float32Array {
  return Float32Array.from({ length: tokens * tokens }, (_, i) =>
    i % tokens > Math.floor(i / tokens) ? Number.NEGATIVE_INFINITY : 0,
  );
}

/** Positions of new tokens; of a decoder that takes three for each, those of time, height and width differ. */
function positions(
  { positionIds }: Pick<DecoderSignature, 'positionIds'>,
  seen: number,
  tokens: number,
): Tensor {
  const shape = positionIds === 'three-batch-sequence' ? [3, 1, tokens] : [1, tokens];
  const data = BigInt64Array.from({ length: tokens * (shape.length === 3 ? 3 : 1) }, (_, i) => {
    const position = seen + (i % tokens);
    return BigInt([position, position >> 1, position % 7][Math.floor(i / tokens)]!);
  });
  return new Tensor('int64', data, shape);
}

/** Where `tokens` tokens from `first` stand in the text. */
function places(first: number, tokens: number, dims: readonly number[] = [1, tokens]): Tensor {
  return new Tensor(
    'int32',
    Int32Array.from({ length: tokens }, (_, i) => first + i),
    dims,
  );
}

function floats(values: Float32Array, dims: number[], half: boolean): Tensor {
  return half
    ? readable(new Tensor('float16', Float16Array.from(values), dims))
    : new Tensor('float32', values, dims);
}

function numbers(tensor: Tensor): Float32Array {
  return tensor.type === 'float16'
    ? Float16Array.toFloat32(tensor.data as Float32Array)
    : (tensor.data as Float32Array);
}
