import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
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
  const echoed = asked.echo ? requests.map(({ prompt }) => String(prompt)) : [];
  const { n = 1 } = asked;
  const whole = completion(head, fill(heard(requests.length)), n, echoed);
  return plain({
    requests,
    whole,
    chunks: chunked(new CompletionChunks(head, requests.length, n, true, echoed)),
  });
}

describe('the protocol', () => {
  it('keeps no record of each of a million parts that are wrong', () => {
    const many = new Array(5000).fill(0.5);
    const issues = (schema: z.ZodType, body: object) => {
      const count = (all: readonly z.core.$ZodIssue[]): number =>
        all.reduce((sum, issue) => sum + 1 + ('errors' in issue ? count(issue.errors.flat()) : 0), 0);
      return count(schema.safeParse(body).error!.issues);
    };
    const user = { messages: [{ role: 'user', content: many }] };
    for (const body of [{ messages: many }, user, { stop: many }, { logit_bias: { ...many } }])
      expect(issues(ChatRequest, body)).toBeLessThan(10);
    for (const prompt of [many, [many, many]]) expect(issues(CompletionRequest, { prompt })).toBeLessThan(20);
  });

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

describe('what a body asks for', () => {
  const asked = (more: object) =>
    parseBody(ChatRequest, { messages: [{ role: 'user', content: 'Hi' }], ...more });
  const tools = [{ type: 'function', function: { name: 'f' } }];

  it('is the same where clients write that they ask for nothing more', () => {
    const plainly = { messages: [{ role: 'user', content: 'Hi' }] };
    expect(asked({})).toEqual(plainly);
    expect(asked({ modalities: ['text'], tools: [], tool_choice: 'auto', n: null })).toEqual(plainly);
    expect(asked({ tools, tool_choice: 'none' })).toEqual(plainly);
    const part = { type: 'image_url', image_url: { url: 'data:,', detail: null } };
    const { messages } = parseBody(ChatRequest, {
      messages: [
        { role: 'user', content: [part] },
        { role: 'assistant', content: 'a', tool_calls: [] },
      ],
    });
    expect(messages[0]).toMatchObject({ content: [{ image_url: { url: 'data:,' } }] });
  });

  it('takes null for what is not there, and in a schema for what it is', () => {
    const json_schema = { name: 'a', strict: null, description: null, schema: { enum: [null, 1] } };
    expect(asked({ response_format: { type: 'json_schema', json_schema } }).response_format).toEqual({
      type: 'json_schema',
      json_schema: { name: 'a', schema: { enum: [null, 1] } },
    });
    expect(asked({ stream_options: { include_usage: null } }).stream_options).toEqual({});
  });

  const user = (content: unknown) => ({ messages: [{ role: 'user', content }] });
  it.each<[object, string]>([
    [{ constructor: 1 }, 'has no option "constructor"'],
    [JSON.parse('{"__proto__":{"a":1}}'), 'has no option "__proto__"'],
    [{ tools }, 'Tools are not called by this server; leave tools out'],
    [{ tool_choice: 'required' }, 'leave tool_choice out'],
    [{ modalities: ['text', 'audio'] }, 'leave modalities out'],
    [{ elastic: { budgett: 0.2 } }, 'elastic is wrong: it takes "policy" and "budget"'],
    [{ elastic: 'h2o' }, 'elastic is wrong: it takes "policy" and "budget"'],
    [{ response_format: { type: 'json_object', schema: {} } }, 'a schema goes with {"type": "json_schema"}'],
    [{ response_format: { type: 'json_schema', schema: {} } }, 'response_format.json_schema is wrong: give'],
    [
      user([{ type: 'image_url', image_url: 'data:,' }]),
      'messages[0].content[0].image_url is wrong: give {"url"',
    ],
    [
      user([{ type: 'text', text: 'a' }, { type: 'input_audio' }]),
      'messages[0].content[1].type is wrong: a part',
    ],
    [user(5), 'messages[0].content is wrong: give a text, or a list'],
    [
      { messages: [{ role: 'user', content: 'a', images: ['x'] }] },
      'messages[0].images is wrong: images are',
    ],
    [
      { messages: [{ role: 'assistant', content: '', tool_calls: [{ id: 'a' }] }] },
      'messages[0].tool_calls is wrong: tools are not called',
    ],
    [{ stop: ['a', ''] }, 'stop[1] is wrong'],
  ])('names what is wrong with %j', (more, message) => {
    expect(() => asked(more)).toThrow(message);
  });
});
