import type { PretrainedConfig, StoppingCriteria, Tensor } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import { Until } from './ended-generation.js';

/** Scalings of positions by which a text may be so many times as long as `max_position_embeddings`; others have it in that number already. */
const STRETCHED = ['linear', 'dynamic', 'yarn'];

/**
 * The longest text of a model, in tokens; undefined where its config does not say.
 * @param most how many its decoder can run, where that is limited
 */
export function contextLength(config: PretrainedConfig, most?: number): number | undefined {
  const longest = Math.min(configured(config) ?? Number.POSITIVE_INFINITY, most ?? Number.POSITIVE_INFINITY);
  return Number.isFinite(longest) ? longest : undefined;
}

function configured(config: PretrainedConfig): number | undefined {
  const whole = config as unknown as Record<string, unknown>;
  const text = (whole.text_config ?? whole.phi_config ?? whole.llm_config ?? whole) as Record<
    string,
    unknown
  >;
  const positions = text.max_position_embeddings ?? whole.max_position_embeddings;
  if (!Number.isSafeInteger(positions) || (positions as number) < 1) return undefined;
  const scaling = Object(text.rope_scaling ?? text.rope_parameters) as Record<string, unknown>;
  const isStretched =
    STRETCHED.includes(String(scaling.rope_type ?? scaling.type)) && Number(scaling.factor) >= 1;
  return Math.floor((positions as number) * (isStretched ? Number(scaling.factor) : 1));
}

/**
 * Ends an answer where the model's longest text ends: what is said until then is returned, not lost with an error of the token after.
 * @param tokens the prompt [B, n], or its new tokens with a `mask` over what was seen as well
 * @throws ElasticCacheError 'context-full' for a prompt that is longer
 */
export function untilFull(
  longest: number,
  cache: KVCache,
  tokens: Tensor | undefined,
  mask: Tensor | undefined,
): StoppingCriteria {
  const length = Math.max(tokens?.dims[1] ?? 0, mask?.dims[1] ?? 0);
  refuseLonger(length, longest);
  // A new token is told before the cache sees it.
  return new Until((rows) => rows.map(() => cache.seen >= longest));
}

/** @throws ElasticCacheError 'context-full' for a text that is longer than the model takes, where it is known how much that is */
export function refuseLonger(tokens: number, longest: number | undefined): void {
  if (longest === undefined || tokens <= longest) return;
  throw new ElasticCacheError(
    'context-full',
    `The text has ${tokens} tokens and this model takes ${longest} at most, whatever its cache keeps of them; shorten it, or begin another conversation.`,
  );
}
