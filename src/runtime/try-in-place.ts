import { InferenceSession, type SessionOptions, Tensor } from '#platform/ort.js';
import { serializeModel } from '../graph/onnx/onnx.js';
import type { Trial } from '../graph/rewrite.js';
import { KVCache } from '../memory/kv-cache.js';
import { Decoder, keepingAll } from './decoder.js';

/** How far apart two ways to compute the same may be, of the largest number that comes out. */
const ROUNDING = { float32: 1e-3, float16: 1e-2, int8: 0 } as const;
/** Tokens of the prompt: kernels take keys in tiles of up to 64. */
const PROMPT = 70;
/** Single tokens after it. */
const STEPS = 4;
/** Before this step rows are given biases. */
const BIASED = 2;

/**
 * Runs a layer in place on the device that a decoder is for, and in single operators: what ONNX Runtime has for GPUs is wrong on some.
 * @returns how far they are apart, of the largest number, where that is more than rounding; NaN where it does not run
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

async function offBy({ model, decoder, hidden }: Trial, options: SessionOptions): Promise<number> {
  const session = await InferenceSession.create(serializeModel(model), options);
  const [apart, inPlace] = [false, true].map(
    (inPlace) => new Decoder(session, decoder, PROMPT, '', undefined, 'prompt', inPlace),
  ) as [Decoder, Decoder];
  try {
    const expected = await attended(apart, hidden);
    const actual = await attended(inPlace, hidden);
    const most = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const apartBy = expected.reduce((most, value, i) => {
      const by = Math.abs(value - actual[i]!);
      return by <= most ? most : by;
    }, 0);
    return apartBy / most;
  } finally {
    await session.release();
  }
}

/** What comes of the steps after a prompt, one after the other. */
async function attended(decoder: Decoder, hidden: number): Promise<number[]> {
  const cache = new KVCache({ policy: keepingAll, budget: 1, ...decoder.shape });
  cache.bind({ ...decoder.shape, batch: 1 }, decoder.windows);
  const given: number[] = [];
  for (let step = 0; step <= STEPS; step++) {
    const tokens = step === 0 ? PROMPT : 1;
    const embeds = Float32Array.from({ length: tokens * hidden }, (_, i) => 2 * noise(i + step * 7919));
    const newTokens = new Tensor('float32', embeds, [1, tokens, hidden]);
    const positions = BigInt64Array.from({ length: tokens }, (_, i) => BigInt(cache.seen + i));
    const positionIds = new Tensor('int64', positions, [1, tokens]);
    if (step === BIASED) cache.past(0).whole!.biasOf(0, 0).fill(1, 3, 8);
    const logits = await decoder.run(cache, { newTokens, positionIds, logits: 'all' });
    if (step > 0) given.push(...(logits.data as Float32Array));
  }
  cache.reset();
  return given;
}

/** Some number between -1 and 1, the same each time. */
function noise(i: number): number {
  const x = Math.sin(i * 12.9898) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}
