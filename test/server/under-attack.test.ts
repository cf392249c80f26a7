import { request } from 'node:http';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/request.js';
import { createEngine, embeddedModel, type LoadedModel, loadElastic } from '../../src/index.js';
import { Keys } from '../../src/server/limits/keys.js';
import { Bodies } from '../../src/server/limits/read-body.js';
import type { ServerSettings } from '../../src/server/settings.js';
import { MODEL, type Running, servingOn } from './running-server.js';

let loaded: LoadedModel;
let running: Running | undefined;

beforeAll(async () => {
  loaded = await loadElastic(embeddedModel());
});
afterAll(() => loaded.model.dispose());
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

async function serving(settings: Partial<ServerSettings> = {}, lanes = 1) {
  const engine: Engine = await createEngine(loaded, { lanes });
  running = await servingOn(engine, { lanes, waiting: 1, ...settings });
  const { url } = running;
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-none', maxRetries: 0 });
  return { ...running, client };
}

/** Never ends by itself. */
const endless = {
  model: MODEL,
  messages: [{ role: 'user' as const, content: 'Go on' }],
  max_tokens: 4000,
  logit_bias: { '2': -100 },
};
const short = { ...endless, max_tokens: 2 };
const failure = (asked: Promise<unknown>) =>
  asked.then(
    () => undefined,
    (cause: unknown) => cause as InstanceType<typeof OpenAI.APIError>,
  );
const post = (url: string, body: string | ReadableStream, headers: Record<string, string> = {}) =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
    duplex: 'half',
  } as RequestInit);

describe('a server that is full', () => {
  it('refuses with the time to come back, and serves those that it let in', async () => {
    const { client, engine } = await serving();
    const stream = await client.chat.completions.create({ ...endless, stream: true });
    const waiting = client.chat.completions.create(short);
    await expect.poll(() => engine.stats.waiting).toBe(1);
    const refused = await failure(client.chat.completions.create(short));
    expect(refused).toBeInstanceOf(OpenAI.RateLimitError);
    expect(refused!.code).toBe('overloaded');
    expect(Number(refused!.headers!.get('retry-after'))).toBeGreaterThan(0);
    stream.controller.abort();
    expect((await waiting).usage!.completion_tokens).toBe(2);
    expect(await failure(client.chat.completions.create({ ...short, n: 3 }))).toMatchObject({ status: 400 });
  });

  it('lets nobody wait longer than told', async () => {
    const { client, engine } = await serving({ waitingMs: 300 });
    const stream = await client.chat.completions.create({ ...endless, stream: true });
    expect(await failure(client.chat.completions.create(short))).toMatchObject({
      status: 429,
      code: 'waited_too_long',
    });
    await expect.poll(() => engine.stats.waiting).toBe(0);
    stream.controller.abort();
  });

  it('ends what takes too long, whole and streamed', async () => {
    const { client, engine } = await serving({ deadlineMs: 500 });
    expect(await failure(client.chat.completions.create(endless))).toMatchObject({
      status: 504,
      code: 'deadline_exceeded',
    });
    await expect.poll(() => engine.stats.running).toBe(0);
    let text = '';
    const streamed = (async () => {
      for await (const { choices } of await client.chat.completions.create({ ...endless, stream: true }))
        text += choices[0]!.delta.content ?? '';
    })();
    expect(await failure(streamed)).toMatchObject({ code: 'deadline_exceeded' });
    expect(text).not.toBe('');
  });

  it('holds no lane for who reads nothing', async () => {
    const { app, client, url } = await serving();
    const body = JSON.stringify({ ...endless, max_tokens: 40, stream: true });
    const headers = { 'content-type': 'application/json', host: '127.0.0.1' };
    const unread = await app.fetch(
      new Request(`${url}/v1/chat/completions`, { method: 'POST', headers, body }),
    );
    expect((await client.chat.completions.create(short)).usage!.completion_tokens).toBe(2);
    expect((await unread.text()).match(/"delta":{"content":"/g)!.length).toBeGreaterThan(20);
  });

  it('frees the lane of who leaves while it waits, and while it is answered', async () => {
    const { client, engine, logged } = await serving();
    const left = new AbortController();
    const both = [endless, short].map((asked) =>
      failure(client.chat.completions.create(asked, { signal: left.signal })),
    );
    await expect.poll(() => engine.stats).toMatchObject({ running: 1, waiting: 1 });
    left.abort();
    await Promise.all(both);
    await expect.poll(() => engine.stats).toMatchObject({ running: 0, waiting: 0, bytesPromised: 0 });
    await expect.poll(() => logged.length).toBe(2);
    expect(logged.map(({ fields }) => fields)).toEqual(
      [0, 1].map(() => expect.objectContaining({ status: 499, error: 'client_left' })),
    );
  });

  it('answers what it has before it stops, and nothing new', async () => {
    const { app, url, client, engine } = await serving({}, 2);
    const answer = client.chat.completions.create({ ...endless, max_tokens: 150 });
    await expect.poll(() => engine.stats.running, { interval: 5 }).toBe(1);
    const drained = app.drain();
    expect(await failure(client.chat.completions.create(short))).toMatchObject({
      status: 503,
      code: 'shutting_down',
    });
    expect((await fetch(`${url}/ready`)).status).toBe(503);
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect((await answer).usage!.completion_tokens).toBe(150);
    await drained;
  });
});

describe('a body', () => {
  it('is refused when it is too large, told or not, no JSON, or no JSON by its name', async () => {
    const { url } = await serving({ body: 1000 });
    const large = `{"messages":[{"role":"user","content":"${'a'.repeat(2000)}"}]}`;
    const told = async (response: Promise<Response>) => [
      (await response).status,
      (await (await response).json()).error.code,
    ];
    expect(await told(post(url, large))).toEqual([413, 'body_too_large']);
    const stream = new Blob([large]).stream();
    expect(await told(post(url, stream))).toEqual([413, 'body_too_large']);
    expect(await told(post(url, '{"messages": ['))).toEqual([400, 'invalid_json']);
    expect(await told(post(url, ''))).toEqual([400, 'invalid_json']);
    expect(await told(post(url, '{}', { 'content-type': 'text/plain' }))).toEqual([
      415,
      'unsupported_media_type',
    ]);
    expect(await told(post(url, '{}', { 'content-encoding': 'gzip' }))).toEqual([
      415,
      'unsupported_media_type',
    ]);
    // With a byte order mark it is JSON all the same: what is wrong is what it says.
    expect(await told(post(url, '\uFEFF{"messages":1}'))).toEqual([400, 'invalid_value']);
  });

  it('has its time, and all together their room', async () => {
    const slow = (first: string) =>
      new Request('http://a/', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: new ReadableStream({
          start: (controller) => controller.enqueue(new TextEncoder().encode(first)),
        }),
        duplex: 'half',
      } as RequestInit);
    const bodies = new Bodies(1000, 1500, 100);
    const results = await Promise.all(
      [bodies.json(slow('a'.repeat(900))), bodies.json(slow('a'.repeat(900)))].map(failure),
    );
    expect(results.map((each) => each!.code).sort()).toEqual(['body_too_slow', 'overloaded']);
    expect(
      await bodies.json(
        new Request('http://a/', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '[1]',
        }),
      ),
    ).toEqual([1]);
  });
});

describe('an image on the web', () => {
  it('is fetched where that is allowed, and never from this machine or a private network', async () => {
    const { client } = await serving({ images: { remote: true, most: 1, mostBytes: 1e6 } });
    const private_ = [
      'http://127.0.0.1/a.png',
      'http://localhost:1/',
      'http://[::1]/',
      'http://169.254.169.254/latest/meta-data',
      'http://10.0.0.1/a.png',
      'http://0x7f000001/',
    ];
    for (const url of private_) {
      const messages = [
        { role: 'user' as const, content: [{ type: 'image_url' as const, image_url: { url } }] },
      ];
      expect(await failure(client.chat.completions.create({ model: MODEL, messages }))).toMatchObject({
        status: 400,
        code: 'invalid_image_url',
        message: expect.stringContaining('which is not asked for images'),
      });
    }
  });
});

describe('who may ask', () => {
  const keys = () =>
    new Keys('# notes\nsk-alice-secret name=alice per-minute=3\n\nsk-bob-secret name=bob at-once=1\n');
  const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

  it('is who has a key, in its limits, and no key is told or written down', async () => {
    const { url, logged, client } = await serving({ keys: keys(), local: false }, 2);
    expect(await failure(client.chat.completions.create(short))).toBeInstanceOf(OpenAI.AuthenticationError);
    for (const path of ['/v1/models', '/metrics', '/status.json']) {
      expect((await fetch(url + path)).status).toBe(401);
      expect((await fetch(url + path, { headers: bearer('sk-alice-secret') })).status).toBe(200);
    }
    for (const path of ['/health', '/ready', '/docs', '/status'])
      expect((await fetch(url + path)).status).toBe(200);
    const asAlice = client.withOptions({ apiKey: 'sk-alice-secret' });
    for (let asked = 0; asked < 3; asked++) await asAlice.chat.completions.create(short);
    expect(await failure(asAlice.chat.completions.create(short))).toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
    });
    const asBob = client.withOptions({ apiKey: 'sk-bob-secret' });
    const stream = await asBob.chat.completions.create({ ...endless, stream: true });
    expect(await failure(asBob.chat.completions.create(short))).toMatchObject({
      status: 429,
      message: expect.stringContaining('1 answers at once'),
    });
    stream.controller.abort();
    expect(JSON.stringify(logged)).toContain('alice');
    expect(JSON.stringify(logged)).not.toContain('secret');
  });

  it('is told which line of the file is wrong, never what is in it', () => {
    for (const text of [
      '',
      '# none',
      'sk-secret nam=a',
      'name=a sk-secret',
      'sk-secret at-once=0',
      'sk-secret per-minute=x',
      'sk-secret name=a\nsk-other name=a',
    ]) {
      expect(() => new Keys(text)).toThrow(
        expect.objectContaining({ code: 'invalid-option', message: expect.not.stringContaining('secret') }),
      );
    }
  });

  it('is no page of another site, by its own name or by CORS, unless told', async () => {
    const { url } = await serving();
    const under = (host: string) =>
      new Promise((resolve) =>
        request(`${url}/v1/models`, { headers: { host } }, ({ statusCode }) => resolve(statusCode)).end(),
      );
    expect(await under('evil.example')).toBe(403);
    expect([await under('localhost:8000'), await under('127.0.0.1'), await under('[::1]:80')]).toEqual([
      200, 200, 200,
    ]);
    const from = { origin: 'https://chat.example.org' };
    expect(
      (await fetch(`${url}/v1/models`, { headers: from })).headers.get('access-control-allow-origin'),
    ).toBeNull();
    await running!.stop();
    const { url: open } = await serving({ origins: ['https://chat.example.org'] });
    const allowed = async (origin: string) =>
      (await fetch(`${open}/v1/models`, { headers: { origin } })).headers.get('access-control-allow-origin');
    expect([await allowed(from.origin), await allowed('https://evil.example')]).toEqual([from.origin, null]);
  });
});

describe('a request that cannot be held', () => {
  it('is refused with the numbers', async () => {
    const engine = await createEngine(loaded, { lanes: 1, memory: 1e6 });
    running = await servingOn(engine, { lanes: 1 });
    const client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const asked = { ...short, max_tokens: 3000, elastic: { budget: 1 } };
    expect(await failure(client.chat.completions.create(asked))).toMatchObject({
      status: 400,
      code: 'out_of_memory',
      message: expect.stringMatching(/300\d entries .*1\.0 MB for caches/),
    });
  });
});
