import type { Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { familyOf, imageTokensOf } from '../families/registry.js';
import type { LoadedModel } from '../loaded-model.js';
import type { Inputs } from './prepare-inputs.js';
import { picturesSeen, SeenPictures } from './seen-pictures.js';
import { tokensSeen } from './seen-tokens.js';

/** Whether a prompt begins with all that a cache of one sequence has seen, tokens and pictures, and has something new behind it. */
export async function goesOn(
  { model }: Pick<LoadedModel, 'model'>,
  cache: KVCache,
  inputs: Inputs,
): Promise<boolean> {
  const ids = inputs.input_ids.data as BigInt64Array;
  const [known] = tokensSeen(cache) ?? [];
  if (known?.length !== cache.seen || known.length >= ids.length) return false;
  if (known.some((token, at) => token !== Number(ids[at]))) return false;
  const isImage = imageTokensOf(model) ?? (() => false);
  const count = (tokens: BigInt64Array) => tokens.reduce((sum, id) => sum + (isImage(id) ? 1 : 0), 0);
  const prompt = { seen: count(ids.subarray(0, known.length)), all: count(ids) };
  if (prompt.seen === 0) return true;
  // Of pictures that nobody shows nothing is known.
  if (!(inputs.pixel_values as Tensor | undefined) || !picturesSeen(cache)) return false;
  try {
    await new SeenPictures(familyOf(model.config.model_type)).refuseOther(cache, inputs, [prompt]);
    return true;
  } catch (cause) {
    if (cause instanceof ElasticCacheError && cause.code === 'prompt-mismatch') return false;
    throw cause;
  }
}
