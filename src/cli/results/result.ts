import type { ModelOptions } from '../load.js';
import { version } from '../version.js';
import type { Outcome } from './ask.js';
import type { GenerateResult } from './schemas.js';

/** What was asked for, as every `--json` names it. */
export function askedFor(
  model: string,
  options: ModelOptions & { image: string[]; prompt: string; endSize?: number },
): Pick<GenerateResult, 'version' | 'model' | 'dtype' | 'image' | 'prompt' | 'endSize'> {
  const { dtype = null, image, prompt, endSize = null } = options;
  return { version: version(), model, dtype, image, prompt, endSize };
}

/** An answer and what it cost, as `--json` prints it. */
export function resultOf(asked: ReturnType<typeof askedFor>, outcome: Outcome): GenerateResult {
  const { policy, budget, text, finishReason, promptTokens, tokens, stats, prefillMs, msPerToken } = outcome;
  return {
    ...asked,
    policy,
    budget: budget.name,
    text,
    finishReason,
    promptTokens,
    newTokens: tokens.length,
    stats: { ...stats, layers: [...stats.layers] },
    timings: { prefillMs, msPerToken },
  };
}
