import type { EngineEvent, Likelihood } from '../../engine/request.js';
import { elasticOf, finishReason, Heard, type TokenScore, usageOf } from './heard.js';

/** What all parts of one answer have in common. */
export interface Head {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
}

/** A whole answer of `POST /v1/chat/completions`: one choice for each of the engine's answers. */
export function chatCompletion(head: Head, answers: readonly Heard[]) {
  return {
    ...head,
    object: 'chat.completion',
    choices: answers.map((heard, index) => ({
      index,
      message: { role: 'assistant', content: heard.text, refusal: null },
      logprobs: scoresOf(heard.takeScores()),
      finish_reason: finishReason(heard.reason!),
    })),
    usage: usageOf(answers, answers.length),
    elastic: elasticOf(answers),
  };
}

/** Makes the chunks of a streamed answer, of one choice or several. */
export class ChatChunks {
  readonly answers: readonly Heard[];

  constructor(
    private readonly head: Head,
    choices: number,
    private readonly includeUsage: boolean,
  ) {
    this.answers = Array.from({ length: choices }, () => new Heard());
  }

  /** Those that come of one event. */
  of(index: number, event: EngineEvent): object[] {
    const heard = this.answers[index]!;
    heard.hear(event);
    if (event.type === 'started') return [this.#chunk(index, { role: 'assistant', content: '' })];
    if (event.type === 'text') return [this.#chunk(index, { content: event.text }, heard.takeScores())];
    if (event.type !== 'finish') return [];
    return [this.#chunk(index, {}, heard.takeScores(), finishReason(event.reason))];
  }

  /** Those at the end of all. */
  end(): object[] {
    if (!this.includeUsage) return [];
    const { answers } = this;
    return [
      {
        ...this.#envelope(),
        choices: [],
        usage: usageOf(answers, answers.length),
        elastic: elasticOf(answers),
      },
    ];
  }

  #chunk(index: number, delta: object, scores: readonly TokenScore[] = [], finish: string | null = null) {
    const choice = { index, delta, logprobs: scoresOf(scores), finish_reason: finish };
    return { ...this.#envelope(), choices: [choice], ...(this.includeUsage && { usage: null }) };
  }

  #envelope() {
    return { ...this.head, object: 'chat.completion.chunk' };
  }
}

function scoresOf(scores: readonly TokenScore[]) {
  if (scores.length === 0) return null;
  return {
    content: scores.map(({ token, top }) => ({ ...scoreOf(token), top_logprobs: top.map(scoreOf) })),
    refusal: null,
  };
}

function scoreOf({ text, logprob }: Likelihood) {
  return { token: text, logprob: finite(logprob), bytes: bytesOf(text) };
}

/** What stands for a token that cannot be: JSON has no infinity, and OpenAI's API has this number. */
export const NEVER = -9999;

export function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : NEVER;
}

/** The bytes of a token in UTF-8; null where it is a part of a character, of which only the tokenizer knows which. */
function bytesOf(text: string): number[] | null {
  return text.includes('\uFFFD') ? null : [...new TextEncoder().encode(text)];
}
