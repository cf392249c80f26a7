import type { CachePolicy } from '../../cache/policy.js';
import type { CacheStats } from '../../memory/stats.js';
import { type Answer, answer } from '../../models/conversation/answer.js';
import type { Question } from '../../models/conversation/prepare-inputs.js';
import type { ReplySettings } from '../../models/conversation/reply.js';
import type { LoadedModel } from '../../models/loaded-model.js';
import type { NamedBudget } from '../options/option-values.js';
import { ProgressCache } from '../progress-cache.js';
import { megabytes, milliseconds } from '../terminal/format.js';
import type { Progress } from '../terminal/progress.js';

export interface AskOptions extends ReplySettings {
  policy: CachePolicy;
  budget: NamedBudget;
  onText?: (text: string) => void;
}

/** An answer and what was left in the cache when it was complete. */
export interface Outcome extends Answer {
  policy: string;
  budget: NamedBudget;
  stats: CacheStats;
}

/** Asks with a cache of its own; the reading of the prompt shows as progress. */
export async function ask(
  loaded: LoadedModel,
  question: Question,
  { policy, budget, onText, ...settings }: AskOptions,
  progress: Progress,
): Promise<Outcome> {
  let promptTokens = 1;
  const cache = new ProgressCache({ policy, budget: budget.budget }, (seen) =>
    progress.at(seen, promptTokens),
  );
  progress.start('reading the prompt');
  try {
    const given = await answer(loaded, question, {
      ...settings,
      cache,
      onPrompt: (tokens) => {
        promptTokens = tokens;
      },
      onText: (text) => {
        progress.end();
        onText?.(text);
      },
    });
    return { ...given, policy: policy.name, budget, stats: cache.stats() };
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
