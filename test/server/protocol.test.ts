import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { EngineEvent } from '../../src/engine/request.js';
import { ChatChunks, chatCompletion } from '../../src/server/openai/chat-answer.js';
import { ChatRequest, conversationOf, likelihoodsAsked } from '../../src/server/openai/chat-request.js';
import { CompletionChunks, completion } from '../../src/server/openai/completion-answer.js';
import { CompletionRequest, promptsOf } from '../../src/server/openai/completion-request.js';
import { engineSettings } from '../../src/server/openai/engine-settings.js';
import { Heard } from '../../src/server/openai/heard.js';
import { parseBody } from '../../src/server/openai/request-fields.js';

/** What was asked and what the embedded model's engine told of it, and what both are as the other side has them. */
interface Recorded {
  path: '/v1/chat/completions' | '/v1/completions';
  body: { n?: number; echo?: boolean };
  told: { index: number; event: EngineEvent }[];
  requests?: object[];
  whole?: object;
  chunks?: object[];
}

const folder = fileURLToPath(new URL('fixtures', import.meta.url));
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
const head = { id: 'id', created: 1, model: 'llava-scenes' };

/** As plain JSON: what is undefined is not there. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

function converted({ path, body, told }: Recorded) {
  const fill = (answers: readonly Heard[]) => {
    for (const { index, event } of told) answers[index]!.hear(event);
    return answers;
  };
  const heard = (count: number) => Array.from({ length: count }, () => new Heard());
  const chunked = (chunks: ChatChunks | CompletionChunks) => [
    ...told.flatMap(({ index, event }) => chunks.of(index, event)),
    ...chunks.end(),
  ];
  if (path === '/v1/chat/completions') {
    const asked = parseBody(ChatRequest, body);
    const messages = conversationOf(asked);
    const requests = engineSettings(asked, 1024).map((each) => ({
      ...each,
      messages,
      logprobs: likelihoodsAsked(asked),
    }));
    const whole = chatCompletion(head, fill(heard(requests.length)));
    return plain({ requests, whole, chunks: chunked(new ChatChunks(head, requests.length, true)) });
  }
  const asked = parseBody(CompletionRequest, body);
  const requests = promptsOf(asked).flatMap((prompt) =>
    engineSettings(asked, 1024).map((each) => ({ ...each, prompt, logprobs: asked.logprobs })),
  );
  const echoed = asked.echo ? requests.map(({ prompt }) => prompt) : [];
  const { n = 1 } = asked;
  const whole = completion(head, fill(heard(requests.length)), n, echoed);
  return plain({
    requests,
    whole,
    chunks: chunked(new CompletionChunks(head, requests.length, n, true, echoed)),
  });
}

describe('the protocol', () => {
  it.each(names)('is as it was recorded: %s', (name) => {
    const file = join(folder, name);
    const recorded = JSON.parse(readFileSync(file, 'utf8')) as Recorded;
    const found = converted(recorded);
    // By hand, to be looked at before it is kept.
    if (process.env.RECORD) writeFileSync(file, `${JSON.stringify({ ...recorded, ...found }, null, 1)}\n`);
    else
      expect(found).toEqual(
        plain({ requests: recorded.requests, whole: recorded.whole, chunks: recorded.chunks }),
      );
  });

  it('says the same in chunks and as a whole', () => {
    for (const name of names) {
      const recorded = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      for (const { index, text, message, finish_reason } of recorded.whole.choices) {
        const own = recorded.chunks.flatMap(({ choices }: { choices: { index: number }[] }) =>
          choices.filter((each) => each.index === index),
        );
        const joined = own
          .map(
            (each: { text?: string; delta?: { content?: string } }) => each.text ?? each.delta?.content ?? '',
          )
          .join('');
        expect(joined).toBe(text ?? message.content);
        expect(own.at(-1)).toMatchObject({ finish_reason });
      }
      expect(recorded.chunks.at(-1).usage).toEqual(recorded.whole.usage);
    }
  });
});
