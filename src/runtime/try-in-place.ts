import { InferenceSession, type SessionOptions, Tensor } from '#platform/ort.js';
import { type CachePolicy, MOST_UNEQUAL_HEADS } from '../cache/policy.js';
import { serializeModel } from '../graph/onnx/onnx.js';
import type { Trial } from '../graph/rewrite.js';
import { KVCache } from '../memory/kv-cache.js';
import { Decoder, keepingAll } from './decoder.js';
import { byHead } from './tensors.js';

/** How far apart two ways to compute the same may be, of the largest number that comes out. */
const ROUNDING = { float32: 1e-3, float16: 1e-2, int8: 0 } as const;
/** Rows that are there before: kernels take keys in tiles of up to 64. */
const ROWS = 70;
/** Single tokens after them. */
const STEPS = 4;
/** From this step on rows have biases. */
const BIASED = 2;
/** By how many rows a head holds fewer than the one before it, where heads differ. */
const FEWER = 7;

/** Has heads hold different numbers of rows. */
const keepingFewer: CachePolicy = {
  ...keepingAll,
  name: 'keeping fewer',
  heads: 'unequal',
  begin: () => ({
    compress: (layers) =>
      layers.map((heads) =>
        heads.map(({ tokens }, head) => ({
          keep: Int32Array.from({ length: tokens - FEWER * head }, (_, row) => row),
        })),
      ),
    evict: () => -1,
  }),
};

/**
 * Runs a layer in place on the device that a decoder is for, and computes here what it must give: what ONNX Runtime has for GPUs is wrong on some.
 * @returns how far it is off, of the largest number, where that is more than rounding; NaN where it does not run
 */
export async function wrongInPlace(
  trials: readonly Trial[],
  options: SessionOptions,
): Promise<number | undefined> {
  for (const trial of trials) {
    const off = await offBy(trial, options).catch(() => Number.NaN);
    if (!(off <= ROUNDING[trial.decoder.past])) return off;
  }
  return undefined;
}

async function offBy(trial: Trial, options: SessionOptions): Promise<number> {
  const session = await InferenceSession.create(serializeModel(trial.model), options);
  const decoder = new Decoder(session, trial.decoder, ROWS, '', undefined, 'prompt', true);
  try {
    const { kvHeads, packs } = trial.decoder.layers[0]!;
    const policies = packs && kvHeads <= MOST_UNEQUAL_HEADS ? [keepingAll, keepingFewer] : [keepingAll];
    let most = 0;
    for (const policy of policies) {
      const off = await offIn(trial, decoder, policy);
      most = off <= most ? most : off;
    }
    return most;
  } finally {
    await decoder.release();
  }
}

async function offIn(trial: Trial, decoder: Decoder, policy: CachePolicy): Promise<number> {
  const { queryHeads, kvHeads, headDim } = trial.decoder.layers[0]!;
  const [width, rowWidth] = [queryHeads * headDim, kvHeads * headDim];
  const cache = new KVCache({ policy, budget: 1 });
  cache.bind({ ...decoder.shape, batch: 1 }, decoder.windows);
  const [keys, values] = [1, 2].map((seed) => byHead(noise(ROWS * rowWidth, seed), 1, ROWS, kvHeads));
  await cache.appendTurn([{ keys: keys!, values: values! }], ROWS);
  let [off, most] = [0, 0];
  for (let step = 0; step < STEPS; step++) {
    if (step === BIASED)
      cache
        .past(0)
        .whole!.biasOf(0, kvHeads - 1)
        .fill(1, 3, 8);
    const hidden = width + 2 * rowWidth;
    const token = noise(hidden, 3 + step);
    const { data } = await decoder.run(cache, {
      newTokens: new Tensor('float32', token, [1, 1, hidden]),
      positionIds: new Tensor('int64', [BigInt(cache.seen)], [1, 1]),
      logits: 'last',
    });
    attended(trial, cache, token).forEach((value, i) => {
      const by = Math.abs(value - (data as Float32Array)[i]!);
      // What is no number is as wrong as can be.
      off = by <= off ? off : by;
      most = Math.max(most, Math.abs(value));
    });
  }
  return off / most;
}

/** What the newest token attends to, [queryHeads, headDim], by the definition of attention. @param token that token, its query first */
function attended({ decoder, scale, sinks }: Trial, cache: KVCache, token: Float32Array): Float64Array {
  const { queryHeads, kvHeads, headDim, window = Number.POSITIVE_INFINITY } = decoder.layers[0]!;
  const apart = cache.policy.heads === 'unequal';
  const context = new Float64Array(queryHeads * headDim);
  for (let head = 0; head < queryHeads; head++) {
    const keyHead = Math.floor((head * kvHeads) / queryHeads);
    const { keys, values, positions } = cache.entries(0, 0, apart ? keyHead : 0);
    const bias = cache.past(0).whole!.biasOf(0, keyHead);
    const start = (row: number) => (apart ? row : row * kvHeads + keyHead) * headDim;
    const scores = Float64Array.from(positions, (position, row) => {
      if (cache.seen - 1 - position >= window) return Number.NEGATIVE_INFINITY;
      let product = 0;
      for (let i = 0; i < headDim; i++) product += token[head * headDim + i]! * keys[start(row) + i]!;
      return scale * product + bias[row]!;
    });
    const weights = scores.map(Math.exp);
    const total = weights.reduce((sum, weight) => sum + weight, sinks ? Math.exp(sinks[head]!) : 0);
    weights.forEach((weight, row) => {
      for (let i = 0; i < headDim; i++)
        context[head * headDim + i]! += (weight / total) * values[start(row) + i]!;
    });
  }
  return context;
}

/** Some numbers between -1.5 and 1.5, the same each time. */
function noise(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => {
    const x = Math.sin((i + 7919 * seed) * 12.9898) * 43758.5453;
    return 3 * (x - Math.floor(x)) - 1.5;
  });
}
