import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MODEL, type Running, sceneUrl, serving } from './running-server.js';

let server: Running;
let picture: string;

beforeAll(async () => {
  server = await serving();
  picture = await sceneUrl(1);
});
afterAll(() => server.stop());

/** Each takes a fifth of a second. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 40);

/** Mostly what is right, and now and then anything. */
const or = <T>(right: fc.Arbitrary<T>, weight = 80) =>
  fc.oneof({ arbitrary: right, weight }, { arbitrary: fc.anything({ maxDepth: 2 }), weight: 1 });
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', '<image>', '</s>', 'USER:', '\u0000', '\ud800', 'a'.repeat(3000)),
);
const url = fc.oneof(
  fc.constant('PICTURE'),
  fc.constantFrom(
    'data:image/png;base64,',
    'data:,x',
    'http://127.0.0.1/',
    'file:///etc/passwd',
    'data:image/svg+xml,<svg/>',
    'PICTURE',
  ),
  fc.base64String().map((bytes) => `data:image/png;base64,${bytes}`),
);
const part = fc.oneof(
  fc.record({ type: fc.constant('text'), text: or(text) }),
  fc.record({ type: fc.constant('image_url'), image_url: or(fc.record({ url: or(url) })) }),
);
const words = fc.constantFrom('Hi', 'How many objects are there?', 'What is printed?', 'Describe the image.');
const content = fc.oneof({ arbitrary: words, weight: 6 }, text, {
  arbitrary: fc.array(part, { maxLength: 3 }),
  weight: 1,
});
const said = (role: fc.Arbitrary<string>) => fc.record({ role: or(role), content: or(content) });
const conversation = fc
  .tuple(
    fc.option(said(fc.constantFrom('system', 'developer')), { freq: 3 }),
    fc.array(fc.tuple(said(fc.constant('user')), said(fc.constant('assistant'))), { maxLength: 2 }),
    fc.record({
      role: or(fc.constant('user')),
      content: fc.oneof(
        words,
        words.map((asked) => [
          { type: 'image_url', image_url: { url: 'PICTURE' } },
          { type: 'text', text: asked },
        ]),
        or(content),
      ),
    }),
  )
  .map(([system, turns, last]) => [...(system ? [system] : []), ...turns.flat(), last]);
const form = fc.oneof(
  fc.constantFrom<object>(
    { type: 'boolean' },
    { enum: ['a', 'b', null] },
    { type: 'array', items: { type: 'integer' } },
  ),
  fc.record({
    type: or(fc.constantFrom('object', 'string', 'integer', 'nothing')),
    properties: or(fc.dictionary(fc.string(), or(fc.constant({ type: 'null' })), { maxKeys: 3 })),
    required: or(fc.array(fc.string(), { maxLength: 2 })),
    pattern: fc.constantFrom('^a+$', '(', undefined),
    anyOf: fc.constantFrom([{}], [{ $ref: '#' }], [{ $ref: '#/properties/a' }], undefined),
  }),
);
const body = fc.record(
  {
    messages: or(conversation),
    prompt: or(
      fc.oneof(
        words,
        text,
        fc.array(words, { minLength: 1, maxLength: 3 }),
        fc.array(text, { maxLength: 3 }),
        fc.array(fc.integer({ min: -1, max: 800 }), { maxLength: 3 }),
        fc.array(fc.array(fc.integer({ min: 0, max: 720 }), { maxLength: 3 }), { maxLength: 3 }),
      ),
    ),
    model: or(fc.constant(MODEL)),
    max_tokens: or(fc.integer({ min: 0, max: 9 })),
    temperature: or(fc.double({ min: 0, max: 2, noNaN: true })),
    top_p: or(fc.double({ min: 0, max: 1, noNaN: true })),
    top_k: or(fc.integer({ min: -1, max: 1000 })),
    min_p: or(fc.double({ min: 0, max: 1, noNaN: true })),
    repetition_penalty: or(fc.double({ min: 0, max: 10, noNaN: true })),
    presence_penalty: or(fc.double({ min: -2, max: 2, noNaN: true })),
    frequency_penalty: or(fc.double({ min: -2, max: 2, noNaN: true })),
    logit_bias: or(
      fc.dictionary(fc.integer({ min: 0, max: 2000 }).map(String), fc.integer({ min: -100, max: 100 })),
    ),
    scored: fc.integer({ min: 0, max: 7 }),
    seed: or(fc.maxSafeInteger()),
    stop: or(fc.oneof(words, fc.array(fc.string({ minLength: 1 }), { maxLength: 5 }), text)),
    n: or(fc.integer({ min: 1, max: 3 })),
    stream: or(fc.boolean()),
    stream_options: or(fc.record({ include_usage: fc.boolean() })),
    elastic: or(
      fc.record(
        {
          policy: or(
            fc.constantFrom('elastic', 'h2o', 'snapkv', 'pyramidkv', 'local', 'elastic:endSize=4', 'nothing'),
          ),
          budget: or(
            fc.oneof(
              fc.double({ min: 0, max: 1, noNaN: true }),
              fc.constantFrom('16tokens', '64kb', '999tokens', '0.5', '1'),
            ),
          ),
        },
        { requiredKeys: [] },
      ),
    ),
    response_format: or(
      fc.oneof(
        fc.constantFrom({ type: 'text' }, { type: 'json_object' }),
        fc.record({
          type: fc.constant('json_schema'),
          json_schema: or(fc.record({ name: or(fc.constant('form')), schema: or(form) })),
        }),
      ),
    ),
    tools: or(fc.constant([])),
  },
  { requiredKeys: ['messages', 'prompt', 'max_tokens'] },
);

/** Holds for whatever was asked: an answer or one sentence, never a fault of the server. */
async function holds(path: string, sent: string): Promise<void> {
  const response = await fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: sent,
  });
  const told = await response.text();
  const note = `${path} ${sent.slice(0, 2000)}\n${response.status} ${told.slice(0, 500)}`;
  expect([200, 400, 404, 413], note).toContain(response.status);
  expect(told, note).not.toMatch(/\n\s+at |node_modules|\/src\//);
  if (response.status !== 200) {
    const { error } = JSON.parse(told);
    expect(error, note).toEqual({
      message: expect.stringMatching(/^\S.*\.\)?$|Did you mean/s),
      type: expect.any(String),
      code: expect.any(String),
      param: error.param,
    });
  } else if (response.headers.get('content-type')?.startsWith('text/event-stream')) {
    const last = told.trimEnd().split('\n\n').at(-1);
    expect(last, note).toBe('data: [DONE]');
  } else expect(JSON.parse(told).choices.length, note).toBeGreaterThan(0);
}

describe('whatever is asked', () => {
  it('is answered or refused, in the form of the API', async () => {
    const paths = fc.constantFrom('/v1/chat/completions', '/v1/completions');
    const asked = fc.asyncProperty(paths, body, (path, { messages, prompt, scored, ...rest }) => {
      const own =
        path === '/v1/completions'
          ? { prompt, ...(scored !== undefined && { logprobs: scored }) }
          : { messages, ...(scored !== undefined && { logprobs: true, top_logprobs: scored }) };
      const sent = JSON.stringify({ ...own, ...rest }, (_, value) =>
        typeof value === 'bigint' ? String(value) : value,
      );
      return holds(path, sent.replaceAll('PICTURE', picture));
    });
    await fc.assert(asked, { numRuns: RUNS });
    // Or it would show little.
    const answered = server.logged.filter(({ fields }) => (fields as { status?: number }).status === 200);
    expect(answered.length).toBeGreaterThan(RUNS / 10);
  });

  it('is refused where it is no JSON', async () => {
    const any = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.json(),
      fc.constant('['.repeat(100_000)),
      fc.constant('{"messages":'.repeat(5000)),
    );
    await fc.assert(
      fc.asyncProperty(any, (sent) => holds('/v1/chat/completions', sent)),
      { numRuns: RUNS },
    );
  });

  it('is refused where a schema is nested without end', async () => {
    const schema = `${'{"anyOf":['.repeat(20_000)}{}${']}'.repeat(20_000)}`;
    const format = `{"type":"json_schema","json_schema":{"name":"deep","schema":${schema}}}`;
    const messages = '[{"role":"user","content":"Hi"}]';
    await holds('/v1/chat/completions', `{"messages":${messages},"response_format":${format}}`);
  });

  it('leaves nothing behind', async () => {
    await expect
      .poll(() => server.engine.stats)
      .toMatchObject({ running: 0, waiting: 0, bytesPromised: 0, bytesAllocated: 0 });
  });
});
