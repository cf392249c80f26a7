import { KVCache } from '../../memory/kv-cache.js';
import { prepareInputs } from '../../models/conversation/prepare-inputs.js';
import { replyTo } from '../../models/conversation/reply.js';
import { imageOf } from '../../models/images/read-image.js';
import type { LoadedModel } from '../../models/loaded-model.js';
import { full } from '../../policies/full.js';
import { hashOf } from './parked-files.js';

/** Pixels a side of the picture that a model is tried with. */
const SIZE = 64;
const TOP = 20;

/**
 * A hash that tells models apart: of their settings, and of the likeliest tokens behind one question about one picture, to the last bit. Another file of weights, another number format or another
 * processor gives other numbers, which a hash of gigabytes would say no better.
 */
export async function fingerprintOf(loaded: LoadedModel): Promise<string> {
  const white = imageOf(new Uint8ClampedArray(3 * SIZE ** 2).fill(200), SIZE, SIZE);
  const images = loaded.processor === undefined ? [] : [white];
  const inputs = await prepareInputs(loaded, { prompt: 'A', images });
  const seen: unknown[] = [];
  const likely = { top: TOP, onToken: (logprobs: unknown) => void seen.push(logprobs) };
  await replyTo(loaded, inputs, new KVCache({ policy: full(), budget: 1 }), { maxNewTokens: 1 }, { likely });
  const text = JSON.stringify([loaded.model.config, seen]);
  return (await hashOf(new TextEncoder().encode(text))).slice(0, 16);
}
