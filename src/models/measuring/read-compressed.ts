import type { Tensor } from '@huggingface/transformers';
import type { KVCache } from '../../memory/kv-cache.js';
import type { Inputs } from '../conversation/prepare-inputs.js';
import type { LoadedModel } from '../loaded-model.js';
import { plainGeneration } from './generation-settings.js';

/**
 * Reads a prompt as far as its token `end`, which is left for what comes next, as a turn of its own: it is compressed when it is read. Without `end` all but the last token
 * is read: whatever `generate()` says next then comes through the cache as it was compressed. Read whole, a prompt gives the first token of an answer before anything of it has
 * gone, and a short answer would be right at any budget.
 * @param inputs one prompt
 * @param cache empty, or it has seen the beginning of the prompt
 */
export async function readCompressed(
  { model }: LoadedModel,
  inputs: Inputs,
  cache: KVCache,
  end = inputs.input_ids.dims[1]! - 1,
): Promise<void> {
  if (end === cache.seen) return;
  const first = (tensor: Tensor) => tensor.slice(null, [0, end]);
  await model.generate({
    ...inputs,
    input_ids: first(inputs.input_ids),
    attention_mask: first(inputs.attention_mask as Tensor),
    ...plainGeneration(1),
    past_key_values: cache,
  });
}
