import type { CacheStats } from '../cache/stats.js';
import { type Answer, answer } from '../models/conversation/answer.js';
import type { Question } from '../models/conversation/prepare-inputs.js';
import type { LoadedModel } from '../models/loaded-model.js';
import { createPolicy } from '../policies/registry.js';
import type { NamedBudget } from './option-values.js';
import { ProgressCache } from './progress-cache.js';
import { megabytes, milliseconds } from './terminal/format.js';
import type { Progress } from './terminal/progress.js';

export interface AskOptions {
  policy: string;
  budget: NamedBudget;
  /** Last tokens of the prompt that `elastic` never merges; 1 unless told. */
  endSize?: number | undefined;
  maxNewTokens: number;
  temperature?: number;
  onText?: (text: string) => void;
}

/** An answer and what was left in the cache when it was complete. */
export interface Outcome extends Answer {
  policy: string;
  budget: string;
  stats: CacheStats;
}

/** Asks with a cache of its own; the reading of the prompt shows as progress. */
export async function ask(
  loaded: LoadedModel,
  question: Question,
  { policy, budget, endSize, maxNewTokens, temperature, onText }: AskOptions,
  progress: Progress,
): Promise<Outcome> {
  let promptTokens = 1;
  const cache = new ProgressCache(
    { policy: createPolicy(policy, { endSize }), budget: budget.budget },
    (seen) => progress.at(seen, promptTokens),
  );
  progress.start('reading the prompt');
  try {
    const given = await answer(loaded, question, {
      cache,
      maxNewTokens,
      ...(temperature === undefined ? {} : { temperature }),
      onPrompt: (tokens) => {
        promptTokens = tokens;
      },
      onText: (text) => {
        progress.end();
        onText?.(text);
      },
    });
    return { ...given, policy, budget: budget.name, stats: cache.stats() };
  } finally {
    progress.end();
  }
}

/** What an answer cost, a line for each number. */
export function costLines({ stats, msPerToken, tokens, prefillMs, promptTokens }: Outcome): string[] {
  return [
    `tokens  ${stats.tokensHeld} held of ${stats.tokensSeen} seen`,
    `cache   ${megabytes(stats.bytesHeld)} (full cache ${megabytes(stats.bytesFull)})`,
    `speed   ${milliseconds(msPerToken)} per token (${tokens.length} new)`,
    `prefill ${milliseconds(prefillMs)} (${promptTokens} tokens)`,
  ];
}
