import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createEngine,
  ElasticCache,
  type EngineRequest,
  type LoadedModel,
  prepareInputs,
} from '../../src/index.js';
import { picture } from '../picture.js';
import { alone, heard, tinyModel, words } from './tiny-engine.js';

let loaded: LoadedModel;
let remove: () => Promise<void>;

beforeAll(async () => {
  ({ loaded, remove } = await tinyModel());
});
afterAll(() => remove());

/** The token that ends a text is never taken. */
const NO_END = { 2: -100 };
const asking = (content: string, rest: Partial<EngineRequest> = {}): EngineRequest => ({
  messages: [{ role: 'user', content }],
  maxNewTokens: 12,
  ...rest,
});

describe('an answer does not depend on who else runs', () => {
  const requests = fc.array(
    fc.record({
      tokens: fc.integer({ min: 1, max: 120 }),
      image: fc.boolean(),
      policy: fc.constantFrom('snapkv', 'elastic', 'h2o', 'full', 'elastic-plus', 'local'),
      budget: fc.constantFrom(0.2, 0.5, 1),
      maxNewTokens: fc.integer({ min: 1, max: 40 }),
      temperature: fc.constantFrom(0, 0.8, 1.5),
      minP: fc.constantFrom(0, 0.1),
      presencePenalty: fc.constantFrom(0, 0.7),
      priority: fc.constantFrom(0, 5),
      /** Events of the others that come first. */
      after: fc.integer({ min: 0, max: 60 }),
      /** Texts after which it is aborted. */
      aborted: fc.option(fc.integer({ min: 0, max: 8 }), { freq: 3 }),
    }),
    { minLength: 2, maxLength: 7 },
  );

  it('with random arrivals, policies, budgets and aborts', async () => {
    await fc.assert(
      fc.asyncProperty(requests, fc.integer({ min: 1, max: 4 }), async (all, lanes) => {
        const engine = await createEngine(loaded, { lanes });
        let events = 0;
        const answers = await Promise.all(
          all.map(async ({ tokens, image, after, aborted, ...settings }, seed) => {
            const request: EngineRequest = {
              messages: [
                { role: 'user', content: words(tokens, seed), ...(image && { images: [picture(seed)] }) },
              ],
              seed,
              ...settings,
            } as EngineRequest;
            const begin = events;
            for (let waited = 0; events < begin + after && waited < 20; waited++)
              await new Promise((resolve) => setTimeout(resolve, 1));
            const abort = new AbortController();
            let texts = 0;
            if (aborted === 0) abort.abort();
            const answer = await heard(engine.add({ ...request, signal: abort.signal }), ({ type }) => {
              events++;
              if (type === 'text' && ++texts === aborted) abort.abort();
            });
            return { request, answer, aborted: abort.signal.aborted };
          }),
        );
        expect(engine.stats).toEqual({
          waiting: 0,
          running: 0,
          bytesPromised: 0,
          bytesAllocated: 0,
          bytesParked: expect.any(Number),
          bytesOnDisk: 0,
          steps: expect.any(Number),
        });
        await engine.close();
        for (const { request, answer, aborted } of answers) {
          expect(answer.error).toBeUndefined();
          const expected = await alone(loaded, request);
          if (answer.reason === 'aborted')
            expect([aborted, expected.startsWith(answer.text)]).toEqual([true, true]);
          else expect(answer.text).toBe(expected);
        }
      }),
      { numRuns: 6 },
    );
  });
});

describe('engine', () => {
  it('tells what comes of a request, with what it cost', async () => {
    const engine = await createEngine(loaded, { budget: 0.5 });
    const { events, text } = await heard(engine.add(asking(words(40, 1))));
    expect(events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1])).toEqual([
      'started',
      'text',
      'usage',
      'finish',
    ]);
    const usage = events.find((event) => event.type === 'usage')!;
    expect(usage).toMatchObject({
      usage: { cachedTokens: 0, newTokens: 12, stats: { policy: 'elastic-plus' } },
    });
    expect(events.at(-1)).toEqual({ type: 'finish', reason: 'length', text });
    await engine.close();
  });

  it('tells how likely tokens were, and takes penalties and biases', async () => {
    const engine = await createEngine(loaded);
    const plain = await heard(engine.add(asking(words(20, 4), { logprobs: 2, maxNewTokens: 4 })));
    const told = plain.events.filter((event) => event.type === 'logprobs');
    expect(told.length).toBe(4);
    for (const { token, top } of told) {
      expect(token).toEqual(top[0]);
      expect(top[0]!.logprob).toBeGreaterThanOrEqual(top[1]!.logprob);
    }
    const never = { [told[0]!.token.id]: -100 };
    const biased = await heard(engine.add(asking(words(20, 4), { logprobs: 0, logitBias: never })));
    const [first] = biased.events.filter((event) => event.type === 'logprobs');
    expect(first!.token).toEqual(told[0]!.top[1]);
    const { error } = await heard(engine.add(asking('w1', { logprobs: 30 })));
    expect(error).toMatchObject({ code: 'invalid-option' });
    // With nothing left to say it says so, however the next token would be drawn.
    const all = Object.fromEntries(Array.from({ length: 1000 }, (_, id) => [id, -100]));
    for (const drawn of [{}, { temperature: 1 }, { temperature: 1, seed: 1 }]) {
      const { error, text } = await heard(engine.add(asking('w1', { logitBias: all, ...drawn })));
      expect(error).toMatchObject({ message: expect.stringMatching(/^Every token .* is banned/) });
      expect(text).toBe('');
    }
    await engine.close();
  });

  it('ends an answer at a stop string that comes in several tokens', async () => {
    const engine = await createEngine(loaded);
    const whole = await alone(loaded, asking(words(30, 6)));
    const stop = whole.slice(3, 9);
    const { text, reason } = await heard(engine.add(asking(words(30, 6), { stop })));
    expect([text, reason]).toEqual([whole.slice(0, whole.indexOf(stop)).trimEnd(), 'stop-string']);
    await engine.close();
  });

  it('takes prepared inputs, and goes on with a conversation in messages as chat() does', async () => {
    const engine = await createEngine(loaded);
    const inputs = await prepareInputs(loaded, { images: [picture(3)], prompt: words(9, 2) });
    const request = { inputs, maxNewTokens: 10 };
    const text = 'w3 w4 w5';
    const prompt = loaded.tokenizer.encode(text);
    const [written, numbered] = await Promise.all(
      [text, prompt].map((each) => heard(engine.add({ prompt: each, maxNewTokens: 10 }))),
    );
    expect(numbered).toEqual({ ...written!, events: expect.anything() });
    for (const wrong of [[], [-1], [1.5], [1e6], [3n as unknown as number]])
      expect((await heard(engine.add({ prompt: wrong }))).error).toMatchObject({ code: 'invalid-prompt' });
    const messages = [{ role: 'user' as const, content: words(9, 2), images: [picture(3)] }];
    const [first, same] = await Promise.all([
      heard(engine.add(request)),
      heard(engine.add({ messages, maxNewTokens: 10 })),
    ]);
    expect(first.text).toBe(same.text);
    const next = await heard(
      engine.add({
        messages: [
          ...messages,
          { role: 'assistant', content: first.text },
          { role: 'user', content: words(5, 3), images: [picture(4)] },
        ],
        maxNewTokens: 10,
      }),
    );
    expect(next.reason).toBe('length');
    await engine.close();
  });

  it.each([
    [[], 'there is none'],
    [[{ role: 'assistant', content: 'w1' }], 'message 1 is of "assistant"'],
    [
      [
        { role: 'user', content: 'w1' },
        { role: 'user', content: 'w2' },
      ],
      'message 2 is of "user"',
    ],
    [
      [
        { role: 'user', content: 'w1' },
        { role: 'assistant', content: 'w1' },
      ],
      'the last is none of a user',
    ],
  ])('refuses messages %j', async (messages, message) => {
    const engine = await createEngine(loaded);
    const { error } = await heard(engine.add({ messages } as EngineRequest));
    expect(error).toMatchObject({ code: 'invalid-prompt', message: expect.stringContaining(message) });
  });

  it('refuses at once what could never fit, and lets the others wait for their memory', async () => {
    const engine = await createEngine(loaded, { memory: 200_000, budget: 1 });
    const [tooLong, ...fitting] = await Promise.all([
      heard(engine.add(asking(words(300, 1)))),
      ...[1, 2, 3].map((seed) => heard(engine.add(asking(words(60, seed), { maxNewTokens: 20 })))),
    ]);
    expect(tooLong.error).toMatchObject({
      code: 'out-of-memory',
      message: expect.stringContaining('0.2 MB'),
    });
    expect(fitting.map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
    await engine.close();
  });

  it.each(['snapkv', 'elastic-plus', 'pyramidkv'] as const)(
    'holds no more than it promised under %s, nor promises more than it has',
    async (policy) => {
      const memory = 400_000;
      const engine = await createEngine(loaded, { memory, policy });
      const watched: boolean[] = [];
      const answers = await Promise.all(
        [0.2, 1, 0.5, 0.2, 1, 1].map((budget, seed) =>
          heard(engine.add(asking(words(20 + 20 * seed, seed), { budget, maxNewTokens: 30 })), () => {
            const { bytesAllocated, bytesPromised } = engine.stats;
            watched.push(bytesAllocated <= bytesPromised && bytesPromised <= memory);
          }),
        ),
      );
      expect(watched.every(Boolean)).toBe(true);
      expect(answers.some(({ error }) => error)).toBe(false);
      await engine.close();
    },
  );

  it('fails one request and no other: a text that becomes longer than the model takes', async () => {
    const engine = await createEngine(loaded, { budget: 0.2 });
    const [long, short] = await Promise.all([
      heard(engine.add(asking(words(2030, 1), { maxNewTokens: 100 }))),
      heard(engine.add(asking(words(5, 2), { maxNewTokens: 60 }))),
    ]);
    // What was said until then is an answer.
    expect([long.reason, long.error]).toEqual(['length', undefined]);
    expect(short.text).toBe(await alone(loaded, asking(words(5, 2), { maxNewTokens: 60, budget: 0.2 })));
    await engine.close();
  });

  it('ends with who stops listening, and drains or closes', async () => {
    const engine = await createEngine(loaded, { lanes: 1 });
    for await (const event of engine.add(asking(words(5, 1), { maxNewTokens: 1000 }))) {
      if (event.type === 'text') break;
    }
    const running = heard(engine.add(asking(words(5, 1), { maxNewTokens: 5 })));
    await engine.drain();
    expect((await running).reason).toBe('length');
    const { error } = await heard(engine.add(asking('w1')));
    expect(error).toMatchObject({ message: expect.stringContaining('closed') });

    const another = await createEngine(loaded, { lanes: 1, waiting: 1 });
    const asked = [1, 2, 3].map((seed) =>
      heard(another.add(asking(words(5, seed), { maxNewTokens: 500, logitBias: NO_END }))),
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    await another.close();
    const ends = (await Promise.all(asked)).map(({ reason, error: cause }) => reason ?? cause?.code);
    expect(ends).toEqual(['aborted', 'aborted', 'overloaded']);
  });

  it.each([
    [{ lanes: 0 }, 'lanes is 0'],
    [{ memory: 1.5 }, 'memory is 1.5'],
    [{ budget: 2 }, 'budget 2'],
    [{ lane: 2 }, 'Did you mean "lanes"?'],
  ])('refuses options %j', async (options, message) => {
    await expect(createEngine(loaded, options as never)).rejects.toThrow(message);
  });

  it('leaves an ordinary generate() beside it alone', async () => {
    const engine = await createEngine(loaded);
    const inputs = await prepareInputs(loaded, { prompt: words(20, 1) });
    const own = () =>
      loaded.model.generate({ ...inputs, past_key_values: new ElasticCache(), max_new_tokens: 8 });
    const [beside] = await Promise.all([own(), heard(engine.add(asking(words(30, 2))))]);
    expect(beside.tolist()).toEqual((await own()).tolist());
    await engine.close();
  });
});
