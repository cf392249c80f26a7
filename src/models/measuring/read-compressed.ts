import type { Tensor } from '@huggingface/transformers';
import type { KVCache } from '../../memory/kv-cache.js';
import type { Inputs } from '../conversation/prepare-inputs.js';
import type { LoadedModel } from '../loaded-model.js';
import { plainGeneration } from './generation-settings.js';

/**
 * Reads a prompt but for its last token, which is left for the `generate()` that comes next: whatever it says then comes through the cache
 * as it was compressed. Read whole, a prompt gives the first token of an answer before anything of it has gone, and a short answer
 * would be right at any budget.
 * @param inputs one prompt
 * @param cache empty
 */
export async function readCompressed({ model }: LoadedModel, inputs: Inputs, cache: KVCache): Promise<void> {
  const length = inputs.input_ids.dims[1]! - 1;
  if (length === 0) return;
  const first = (tensor: Tensor) => tensor.slice(null, [0, length]);
  await model.generate({
    ...inputs,
    input_ids: first(inputs.input_ids),
    attention_mask: first(inputs.attention_mask as Tensor),
    ...plainGeneration(1),
    past_key_values: cache,
  });
}
