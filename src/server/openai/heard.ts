import type { EngineEvent, EngineUsage, Likelihood } from '../../engine/request.js';
import type { FinishReason } from '../../models/conversation/reply.js';

/** How likely a token of an answer was. */
export interface TokenScore {
  readonly token: Likelihood;
  readonly top: readonly Likelihood[];
}

/** What an answer's events come to, event by event. */
export class Heard {
  text = '';
  reason: FinishReason | undefined;
  usage: EngineUsage | undefined;
  promptTokens = 0;
  cachedTokens = 0;
  /** Scores of tokens whose text is not told yet. */
  #untold: TokenScore[] = [];

  hear(event: EngineEvent): void {
    switch (event.type) {
      case 'started':
        ({ promptTokens: this.promptTokens, cachedTokens: this.cachedTokens } = event);
        break;
      case 'text':
        this.text += event.text;
        break;
      case 'logprobs':
        this.#untold.push(event);
        break;
      case 'usage':
        this.usage = event.usage;
        break;
      case 'finish':
        this.reason = event.reason;
        // The token that ended the answer is no part of it.
        if (event.reason === 'stop') this.#untold.pop();
    }
  }

  /** The scores of the tokens that came since they were asked for last. */
  takeScores(): TokenScore[] {
    return this.#untold.splice(0);
  }
}

/** As OpenAI names what ended an answer. */
export function finishReason(reason: FinishReason): 'stop' | 'length' {
  return reason === 'length' ? 'length' : 'stop';
}

/** What an answer took, or several of one prompt, which is counted once. */
export function usageOf(answers: readonly Heard[], promptsApart: number) {
  const sum = (of: (heard: Heard) => number, among = answers) =>
    among.reduce((total, each) => total + of(each), 0);
  const firsts = answers.filter((_, index) => index % promptsApart === 0);
  const prompt = sum(({ promptTokens }) => promptTokens, firsts);
  const completion = sum(({ usage }) => usage?.newTokens ?? 0);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum(({ cachedTokens }) => cachedTokens, firsts) },
  };
}

/** What this server tells beside what OpenAI's API has: the cache of each answer at its end, and its times in milliseconds. */
export function elasticOf(answers: readonly Heard[]) {
  return answers.flatMap(({ usage }) => {
    if (!usage) return [];
    const { stats, waitedMs, prefillMs, msPerToken } = usage;
    const { policy, tokensSeen, tokensHeld, bytesHeld, bytesFull } = stats;
    return [
      {
        policy,
        tokens_seen: tokensSeen,
        tokens_held: tokensHeld,
        bytes_held: bytesHeld,
        bytes_full: bytesFull,
        waited_ms: rounded(waitedMs),
        prefill_ms: rounded(prefillMs),
        ms_per_token: rounded(msPerToken),
      },
    ];
  });
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 1000) / 1000;
}
