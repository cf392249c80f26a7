import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { MODEL, type Running, seen, serving } from './running-server.js';

let server: Running;
let client: OpenAI;

beforeAll(async () => {
  server = await serving();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => server.stop());

describe("OpenAI's client", () => {
  it('asks about an image, whole and streamed, and is told the same', async () => {
    const asked = { model: MODEL, messages: [await seen(1)], max_tokens: 24 };
    const whole = await client.chat.completions.create(asked);
    expect(whole.choices[0]!.message.content).toMatch(/^The picture shows 5 objects/);
    expect(whole.choices[0]!.finish_reason).toBe('length');
    expect(whole.usage).toMatchObject({ completion_tokens: 24, prompt_tokens_details: { cached_tokens: 0 } });
    expect(whole._request_id).toMatch(/^req_/);
    const stream = await client.chat.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    const ends: unknown[] = [];
    let usage: unknown;
    for await (const { choices, usage: took } of stream) {
      text += choices[0]?.delta.content ?? '';
      if (choices[0]?.finish_reason) ends.push(choices[0].finish_reason);
      usage = took ?? usage;
    }
    expect([text, ends, usage]).toEqual([whole.choices[0]!.message.content, ['length'], whole.usage]);
  });

  it('goes on with a conversation, of which nothing is read again', async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [
      { role: 'system', content: 'Be brief.' },
      await seen(2, 'How many objects are there?'),
    ];
    const first = await client.chat.completions.create({ model: MODEL, messages });
    const { content } = first.choices[0]!.message;
    messages.push({ role: 'assistant', content }, { role: 'user', content: 'What is printed?' });
    const second = await client.chat.completions.create({ model: MODEL, messages });
    const { prompt_tokens, prompt_tokens_details } = second.usage!;
    expect(prompt_tokens_details!.cached_tokens).toBeGreaterThan(580);
    expect(prompt_tokens - prompt_tokens_details!.cached_tokens!).toBeLessThan(40);
  });

  it('is told how likely tokens were: of the answer alone, their texts joined', async () => {
    const asked = {
      model: MODEL,
      messages: [await seen(3, 'How many objects are there?')],
      logprobs: true,
      top_logprobs: 2,
    };
    const { choices } = await client.chat.completions.create(asked);
    const { content } = choices[0]!.logprobs!;
    expect(choices[0]!.finish_reason).toBe('stop');
    expect(
      content!
        .map(({ token }) => token)
        .join('')
        .trim(),
    ).toBe(choices[0]!.message.content);
    for (const { token, logprob, bytes, top_logprobs } of content!) {
      expect([new TextDecoder().decode(Uint8Array.from(bytes!)), top_logprobs.length]).toEqual([token, 2]);
      expect(top_logprobs[0]!.logprob).toBeGreaterThanOrEqual(logprob);
    }
    const streamed: unknown[] = [];
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    for await (const chunk of stream) streamed.push(...(chunk.choices[0]!.logprobs?.content ?? []));
    expect(streamed).toEqual(content);
  });

  it('draws several answers, the same for the same seed, and bans tokens', async () => {
    const asked = { model: MODEL, messages: [await seen(4)], max_tokens: 12, temperature: 2, seed: 7, n: 3 };
    const { choices, usage } = await client.chat.completions.create(asked);
    const texts = choices.map(({ message }) => message.content);
    expect(new Set(texts).size).toBeGreaterThan(1);
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    const again = await client.chat.completions.create(asked);
    expect(again.choices.map(({ message }) => message.content)).toEqual(texts);
    // A prompt counts once.
    expect(usage!.prompt_tokens).toBeLessThan(700);
    const plain = { model: MODEL, messages: [await seen(4)], max_tokens: 1, logprobs: true };
    const told = async (logit_bias: Record<string, number>) =>
      (await client.chat.completions.create({ ...plain, logit_bias })).choices[0]!.logprobs!.content![0]!
        .token;
    const first = await told({});
    const { choices: likely } = await client.chat.completions.create({
      ...plain,
      logprobs: true,
      top_logprobs: 2,
    });
    expect(likely[0]!.logprobs!.content![0]!.top_logprobs[0]!.token).toBe(first);
    const other = await told(Object.fromEntries(Array.from({ length: 700 }, (_, id) => [id, -100])));
    expect(other).not.toBe(first);
  });

  it('ends an answer at a text of its own', async () => {
    const messages = [await seen(1)];
    const { choices } = await client.chat.completions.create({ model: MODEL, messages, stop: [' and '] });
    expect(choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: 'The picture shows 5 objects' },
    });
  });

  it('writes on, without a template', async () => {
    const { choices, usage } = await client.completions.create({
      model: MODEL,
      prompt: ['The picture shows', 'There is'],
      max_tokens: 4,
      echo: true,
    });
    // The space before the first word belongs to the text.
    expect(choices[0]!.text).toMatch(/^The picture shows \w/);
    expect(choices[1]!.text).toMatch(/^There is/);
    expect(usage).toMatchObject({ prompt_tokens: expect.any(Number), completion_tokens: expect.any(Number) });
  });

  it('writes on from the ids of tokens, of one prompt or several', async () => {
    const after = (prompt: number[] | number[][], more = {}) =>
      client.completions.create({ model: MODEL, prompt, max_tokens: 2, ...more });
    const [one, several] = await Promise.all([after([5, 6, 7]), after([[5, 6, 7], [8]], { n: 2 })]);
    expect(one.usage!.prompt_tokens).toBe(3);
    expect(several.usage!.prompt_tokens).toBe(4);
    expect(several.choices).toHaveLength(4);
    expect(several.choices[1]!.text).toBe(one.choices[0]!.text);
    for (const [wrong, code] of [
      [[5, 1e6], 'invalid_prompt'],
      [[5, 1.5], 'invalid_value'],
      [[[5], 'a'], 'invalid_value'],
      [[[5], []], 'invalid_value'],
    ] as const)
      expect(await after(wrong as never).catch((cause: unknown) => cause)).toMatchObject({
        status: 400,
        code,
      });
    expect(await after([5], { echo: true }).catch((cause: unknown) => cause)).toMatchObject({ status: 400 });
  });

  it('lists the model', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual([MODEL]);
    expect(await client.models.retrieve(MODEL)).toMatchObject({ id: MODEL, max_model_len: 4096 });
  });

  it('chooses the cache of its request', async () => {
    const messages = [await seen(5, 'How many objects are there?')];
    const held = async (body: object, headers: Record<string, string> = {}) => {
      const answer = await client.chat.completions.create(
        { model: MODEL, messages, max_tokens: 2, ...body },
        { headers },
      );
      const [{ tokens_held, tokens_seen, policy }] = (
        answer as unknown as { elastic: [Record<string, unknown>] }
      ).elastic;
      return [policy, tokens_held, tokens_seen];
    };
    expect(await held({ elastic: { policy: 'full', budget: 1 } })).toEqual([
      'full',
      expect.any(Number),
      expect.any(Number),
    ]);
    const [policy, count] = await held({}, { 'x-elastic-policy': 'h2o', 'x-elastic-budget': '64tokens' });
    expect([policy, count]).toEqual(['h2o', 64]);
  });

  it('is given objects of its own schemas, whole and streamed', async () => {
    const Scene = z.object({
      objects: z
        .array(z.object({ colour: z.enum(['red', 'green', 'blue']), size: z.int().min(0).max(9) }))
        .max(2),
      text: z.string().max(8).nullable(),
    });
    const asked = {
      model: MODEL,
      messages: [await seen(4, 'How many objects are there?')],
      response_format: zodResponseFormat(Scene, 'scene'),
      max_tokens: 200,
    };
    const { choices } = await client.chat.completions.parse(asked);
    const [{ message, finish_reason }] = choices as [(typeof choices)[0]];
    expect([finish_reason, message.parsed]).toEqual(['stop', Scene.parse(JSON.parse(message.content!))]);
    const stream = client.chat.completions.stream(asked);
    expect((await stream.finalChatCompletion()).choices[0]!.message.parsed).toEqual(message.parsed);
    const any = { ...asked, response_format: { type: 'json_object' as const }, max_tokens: 3 };
    expect((await client.chat.completions.create(any)).choices[0]!.message.content).toMatch(/^\{/);
  });

  it('is told what is wrong in its own types', async () => {
    const messages = [{ role: 'user' as const, content: 'Hello' }];
    const refused = (body: object, path = '/chat/completions') =>
      client.post(path, { body: { model: MODEL, messages, ...body } }).then(
        () => undefined,
        (cause: unknown) => cause,
      );
    expect(await refused({ temperature: 3 })).toBeInstanceOf(OpenAI.BadRequestError);
    expect(await refused({ temprature: 1 })).toMatchObject({
      code: 'invalid_value',
      message: expect.stringContaining('Did you mean "temperature"'),
    });
    expect(await refused({ model: 'gpt-4o' })).toBeInstanceOf(OpenAI.NotFoundError);
    const schema = { type: 'string', pattern: '(?=a)b' };
    for (const response_format of [
      { type: 'json_schema', json_schema: { name: 'a', schema } },
      { type: 'grammar' },
      { type: 'json_schema' },
    ])
      expect(await refused({ response_format })).toMatchObject({ status: 400, code: 'invalid_value' });
    expect(await refused({ tools: [{ type: 'function' }] })).toMatchObject({ status: 400 });
    expect(await refused({}, '/embeddings')).toMatchObject({ status: 400, code: 'unsupported' });
    expect(await refused({}, '/images')).toBeInstanceOf(OpenAI.NotFoundError);
    expect(await refused({ messages: [{ role: 'user', content: 'The '.repeat(5000) }] })).toMatchObject({
      code: 'context_length_exceeded',
      message: expect.stringMatching(/has \d{4,} tokens and this model takes 4096/),
    });
    expect(await refused({ messages: [{ role: 'user', content: 'a'.repeat(1e6) }] })).toMatchObject({
      code: 'context_length_exceeded',
      message: expect.stringContaining('1000000 characters'),
    });
    const image = (url: string) => ({
      messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }],
    });
    for (const url of [
      'file:///etc/hostname',
      '/etc/hostname',
      'ftp://a/b.png',
      'data:image/png;base64,AAAA',
      'data:,',
    ]) {
      expect(await refused(image(url))).toMatchObject({ status: 400, code: 'invalid_image' });
    }
    expect(await refused(image('https://example.org/a.png'))).toMatchObject({
      status: 400,
      code: 'invalid_image_url',
    });
  });

  it('leaves, and its lane is free', async () => {
    const stream = await client.chat.completions.create({
      model: MODEL,
      messages: [await seen(6)],
      stream: true,
      max_tokens: 2000,
      logit_bias: { '2': -100 },
    });
    for await (const { choices } of stream) if (choices[0]?.delta.content) break;
    await expect.poll(() => server.engine.stats.running, { timeout: 5000 }).toBe(0);
    await expect
      .poll(() => server.logged.at(-1)?.fields)
      .toMatchObject({ status: 200, error: 'client_left' });
  });
});
