import type { LoadedModel } from '../loaded-model.js';

/** The tokens that end an answer: those of the model's settings, and the tokenizer's own. */
export function endTokensOf({
  model,
  tokenizer,
}: Pick<LoadedModel, 'model' | 'tokenizer'>): ReadonlySet<number> {
  const named = [
    model.generation_config?.eos_token_id,
    (model.config as { eos_token_id?: unknown }).eos_token_id,
  ];
  const own = tokenizer.eos_token ? tokenizer.convert_tokens_to_ids(tokenizer.eos_token) : undefined;
  return new Set([...named.flat(), own].filter((id): id is number => typeof id === 'number'));
}
