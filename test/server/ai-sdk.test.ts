import { readFile } from 'node:fs/promises';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateObject, generateText, streamText } from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { embeddedImage } from '../../src/index.js';
import { MODEL, type Running, serving } from './running-server.js';

let server: Running;

beforeAll(async () => {
  server = await serving();
});
afterAll(() => server.stop());

const model = (name = MODEL) =>
  createOpenAICompatible({ name: 'elastic-cache', baseURL: `${server.url}/v1`, includeUsage: true })(name);

describe("Vercel's AI SDK", () => {
  it('asks about an image, whole and streamed', async () => {
    const image = await readFile(embeddedImage(1));
    const messages = [
      {
        role: 'user' as const,
        content: [
          { type: 'text' as const, text: 'How many objects are there?' },
          { type: 'image' as const, image },
        ],
      },
    ];
    const { text, finishReason, usage } = await generateText({
      model: model(),
      system: 'Be brief.',
      messages,
    });
    expect([text, finishReason]).toEqual([expect.stringMatching(/\d/), 'stop']);
    expect(usage.inputTokens).toBeGreaterThan(576);
    const { textStream, usage: streamed } = streamText({
      model: model(),
      system: 'Be brief.',
      messages,
      temperature: 0,
    });
    let joined = '';
    for await (const piece of textStream) joined += piece;
    expect(joined).toBe(text);
    expect((await streamed).outputTokens).toBe(usage.outputTokens);
  });

  it('makes objects', async () => {
    const scenes = createOpenAICompatible({
      name: 'elastic-cache',
      baseURL: `${server.url}/v1`,
      supportsStructuredOutputs: true,
    })(MODEL);
    const schema = z.object({ count: z.number().min(0).max(20), sure: z.boolean().optional() });
    const { object } = await generateObject({ model: scenes, schema, prompt: 'How many?' });
    expect(schema.parse(object)).toEqual(object);
  });

  it('is told what is wrong', async () => {
    const wrong = await generateText({ model: model('gpt-4o'), prompt: 'Hello', maxRetries: 0 }).catch(
      (cause: unknown) => cause,
    );
    expect(APICallError.isInstance(wrong) && [wrong.statusCode, wrong.message]).toEqual([
      404,
      expect.stringContaining('llava-scenes'),
    ]);
  });

  it('ends what is aborted', async () => {
    const left = new AbortController();
    const { textStream } = streamText({
      model: model(),
      prompt: 'Go on',
      maxOutputTokens: 3000,
      providerOptions: { 'elastic-cache': { logit_bias: { '2': -100 } } },
      abortSignal: left.signal,
    });
    for await (const _ of textStream) left.abort();
    await expect.poll(() => server.engine.stats.running).toBe(0);
  });
});
