import type { GenerateOptions } from '../loaded-model.js';

/**
 * Settings of `generate()` for exactly `newTokens` tokens, each the likeliest by the model's own logits: whatever a
 * generation_config.json says about sampling, penalties, forced tokens and where to stop is put out of force.
 */
export function plainGeneration(newTokens: number): GenerateOptions {
  const settings = {
    max_new_tokens: newTokens,
    do_sample: false,
    num_beams: 1,
    eos_token_id: null,
    min_length: 0,
    min_new_tokens: null,
    repetition_penalty: 1,
    no_repeat_ngram_size: 0,
    bad_words_ids: null,
    forced_bos_token_id: null,
    forced_eos_token_id: null,
    suppress_tokens: null,
    begin_suppress_tokens: null,
    guidance_scale: null,
  };
  // transformers.js takes null for "none" and has it for a default, but its types do not say so.
  return settings as unknown as GenerateOptions;
}
