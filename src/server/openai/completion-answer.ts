import type { EngineEvent } from '../../engine/request.js';
import { finite, type Head } from './chat-answer.js';
import { elasticOf, finishReason, Heard, type TokenScore, usageOf } from './heard.js';

/** A whole answer of `POST /v1/completions`. @param echoed before each choice, where the prompt is asked for: [choices] */
export function completion(
  head: Head,
  answers: readonly Heard[],
  choices: number,
  echoed: readonly string[],
) {
  return {
    ...head,
    object: 'text_completion',
    choices: answers.map((heard, index) => ({
      index,
      text: (echoed[index] ?? '') + heard.text,
      logprobs: scoresOf(heard.takeScores(), 0),
      finish_reason: finishReason(heard.reason!),
    })),
    usage: usageOf(answers, choices),
    elastic: elasticOf(answers),
  };
}

/** Makes the chunks of a streamed answer. */
export class CompletionChunks {
  readonly answers: readonly Heard[];

  /** @param choices for each prompt */
  constructor(
    private readonly head: Head,
    count: number,
    private readonly choices: number,
    private readonly includeUsage: boolean,
    private readonly echoed: readonly string[],
  ) {
    this.answers = Array.from({ length: count }, () => new Heard());
  }

  of(index: number, event: EngineEvent): object[] {
    const heard = this.answers[index]!;
    const offset = heard.text.length;
    heard.hear(event);
    const echo = this.echoed[index] ?? '';
    if (event.type === 'started') return echo === '' ? [] : [this.#chunk(index, echo)];
    if (event.type === 'text') return [this.#chunk(index, event.text, scoresOf(heard.takeScores(), offset))];
    if (event.type !== 'finish') return [];
    return [this.#chunk(index, '', scoresOf(heard.takeScores(), offset), finishReason(event.reason))];
  }

  end(): object[] {
    if (!this.includeUsage) return [];
    const usage = usageOf(this.answers, this.choices);
    return [{ ...this.#envelope(), choices: [], usage, elastic: elasticOf(this.answers) }];
  }

  #chunk(index: number, text: string, logprobs: object | null = null, finish: string | null = null) {
    const choice = { index, text, logprobs, finish_reason: finish };
    return { ...this.#envelope(), choices: [choice], ...(this.includeUsage && { usage: null }) };
  }

  #envelope() {
    return { ...this.head, object: 'text_completion' };
  }
}

/** @param offset where the text of the first begins in the answer */
function scoresOf(scores: readonly TokenScore[], offset: number): object | null {
  if (scores.length === 0) return null;
  let at = offset;
  const offsets = scores.map(({ token }) => {
    at += token.text.length;
    return at - token.text.length;
  });
  return {
    tokens: scores.map(({ token }) => token.text),
    token_logprobs: scores.map(({ token }) => finite(token.logprob)),
    top_logprobs: scores.map(({ top }) =>
      Object.fromEntries(top.map(({ text, logprob }) => [text, finite(logprob)])),
    ),
    text_offset: offsets,
  };
}
