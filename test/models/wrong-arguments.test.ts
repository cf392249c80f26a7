import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { REQUEST_OPTIONS } from '../../src/engine/request.js';
import * as api from '../../src/index.js';
import { REPLY_SETTINGS } from '../../src/models/conversation/reply.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';

let directory: string;
let loaded: api.LoadedModel;
let engine: api.Engine;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-arguments-'));
  await writeTinyLlava(directory);
  loaded = await api.loadElastic(directory, { threads: 1 });
  engine = await api.createEngine(loaded);
});
afterAll(async () => {
  await engine.close();
  await loaded.model.dispose();
  await rm(directory, { recursive: true });
});

/** What callers without types hand over by mistake. No path among them is a model, an image or a checkpoint. */
const WRONG: readonly (readonly [string, unknown])[] = [
  ['undefined', undefined],
  ['null', null],
  ['{}', {}],
  ['-1', -1],
  ['NaN', Number.NaN],
  ['10n', 10n],
  ['a path of nothing', './nothing-of-that-name'],
  ['an empty text', ''],
  ['[]', []],
  ['a function', () => {}],
  ['a class', api.ElasticCache],
  ['true', true],
  ['a symbol', Symbol('wrong')],
  ['a date', new Date(0)],
  ['an object without prototype', Object.create(null)],
  ['what nests itself', nested()],
  ['a promise', Promise.resolve({})],
];

function nested(): unknown {
  const object: Record<string, unknown> = {};
  object.self = object;
  return object;
}

/** Exports that are asked for nothing, or for what may be left out, and those that are no functions. */
const NEED_NOTHING = ['ElasticCache', 'ElasticCacheError', 'embeddedModel'];

type Call = (wrong: unknown) => unknown;
const call =
  (target: unknown, ...before: unknown[]): Call =>
  (wrong) =>
    (target as (...all: unknown[]) => unknown)(...before, wrong);

/** Calls that take one thing at least, with that thing wrong. */
function calls(): [string, Call][] {
  const of = (name: string, owner: object, method: string): [string, Call] => [
    name,
    (wrong) => (owner as Record<string, Call>)[method]!(wrong),
  ];
  const exported = Object.entries(api)
    .filter(([name, target]) => typeof target === 'function' && !NEED_NOTHING.includes(name))
    .map(([name, target]): [string, Call] => [
      name,
      name === 'KVCache' ? (wrong) => new api.KVCache(wrong as api.KVCacheOptions) : call(target),
    ]);
  const cache = () => new api.ElasticCache({ budget: 1 });
  return [
    ...exported,
    ['chat, second', call(api.chat, loaded)],
    ['chat, first', (wrong) => api.chat(wrong as never, { cache: cache() })],
    [
      'ask',
      (wrong) =>
        api
          .chat(loaded, { cache: cache() })
          .ask(wrong as never)
          .next(),
    ],
    ['add', (wrong) => heard(engine.add(wrong as never))],
    ['a message of add', (wrong) => heard(engine.add({ messages: [wrong as never], maxNewTokens: 1 }))],
    ['answer, first', (wrong) => api.answer(wrong as never, { prompt: 'w1' }, { cache: cache() })],
    ['answer, second', (wrong) => api.answer(loaded, wrong as never, { cache: cache() })],
    ['answer, third', call(api.answer, loaded, { prompt: 'w1' })],
    ['prepareInputs, second', call(api.prepareInputs, loaded)],
    [
      'an image of prepareInputs',
      (wrong) => api.prepareInputs(loaded, { prompt: 'w1', images: [wrong as never] }),
    ],
    ['tokensAfterImage, second', call(api.tokensAfterImage, loaded)],
    ['its input_ids', (wrong) => api.tokensAfterImage(loaded, { input_ids: wrong as never })],
    of('generate', loaded.model, 'generate'),
    ['a cache of generate', (wrong) => loaded.model.generate({ past_key_values: wrong as never })],
    ['a budget', (wrong) => new api.ElasticCache({ budget: wrong ?? null } as never)],
    ['a policy', (wrong) => new api.ElasticCache({ policy: wrong ?? null } as never)],
    ['a policy, made', call(api.ElasticCache.load)],
  ];
}

/** What a call is given beside the rest, with one of these wrong: some values are none the less right. */
function settings(): [string, Call][] {
  const cache = () => new api.ElasticCache({ budget: 1 });
  const ofAnswer = [...REPLY_SETTINGS, 'onPrompt', 'onText'].map((name): [string, Call] => [
    `${name} of answer`,
    (wrong) => api.answer(loaded, { prompt: 'w1' }, { maxNewTokens: 1, cache: cache(), [name]: wrong }),
  ]);
  const ofAsk = REPLY_SETTINGS.map((name): [string, Call] => [
    `${name} of ask`,
    (wrong) => heard(api.chat(loaded, { cache: cache() }).ask({ ...short, [name]: wrong })),
  ]);
  const ofAdd = REQUEST_OPTIONS.map((name): [string, Call] => [
    `${name} of add`,
    (wrong) => heard(engine.add({ ...short, [name]: wrong } as never)),
  ]);
  const sizes = ['tokens', 'bytes'].map((name): [string, Call] => [
    `${name} of a budget`,
    (wrong) => new api.ElasticCache({ budget: { [name]: wrong } as never }),
  ]);
  const policies = ['startSize', 'merging', 'heads', 'novelty'].map((name): [string, Call] => [
    `${name} of a policy`,
    (wrong) => api.createPolicy('elastic', { [name]: wrong } as never),
  ]);
  const shapes = ['layers', 'batch', 'format', 'model'].map((name): [string, Call] => [
    `${name} of a cache`,
    (wrong) => new api.ElasticCache({ layers: 1, kvHeads: 1, headDim: 1, [name]: wrong } as never),
  ]);
  const ofLoad = ['dtype', 'device', 'chunk', 'kvFormat', 'threads', 'revision', 'progress_callback'].map(
    (name): [string, Call] => [
      `${name} of loadElastic`,
      async (wrong) => (await api.loadElastic(directory, { [name]: wrong } as never)).model.dispose(),
    ],
  );
  const ofEngine = ['lanes', 'memory', 'park', 'waiting', 'policy', 'budget', 'load'].map(
    (name): [string, Call] => [
      `${name} of an engine`,
      async (wrong) => (await api.createEngine(loaded, { [name]: wrong } as never)).close(),
    ],
  );
  return [
    ...ofAnswer,
    ...ofAsk,
    ...ofAdd,
    ...sizes,
    ...policies,
    ...shapes,
    ...ofLoad,
    ...ofEngine,
    ['web of readImage', (wrong) => api.readImage('./nothing', { web: wrong } as never)],
    ['a list of images with a hole', (wrong) => api.prepareInputs(loaded, holed(wrong))],
  ];
}

function holed(wrong: unknown): api.Question {
  const images: unknown[] = [];
  images[1] = wrong;
  return { prompt: 'w1', images: images as never };
}

const short = { prompt: 'w1', maxNewTokens: 1 };

async function heard(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _event of events);
}

const LONGEST = 600;

/** What of these calls neither returns nor is refused in one sentence with a code. @param mayReturn whether it may return */
async function otherwise(all: readonly [string, Call][], mayReturn: boolean): Promise<string[]> {
  const found: string[] = [];
  for (const [name, run] of all) {
    for (const [value, wrong] of WRONG) {
      // A model that is named is loaded in a process of its own: test/engine/worker.test.ts.
      if (name === 'createEngine' && typeof wrong === 'string') continue;
      // What a call is told by calling is a matter of its own.
      if (/^on[PT].* of answer/.test(name) && value === 'a class') continue;
      const where = `${name}(${value})`;
      try {
        await run(wrong);
        if (!mayReturn) found.push(`${where} returns`);
      } catch (error) {
        const { code, message = '' } = error as Partial<api.ElasticCacheError>;
        const isOurs = error instanceof api.ElasticCacheError && typeof code === 'string';
        if (!isOurs) found.push(`${where} throws ${error}`);
        else if (/\n/.test(message) || message.length > LONGEST) found.push(`${where} says ${message}`);
      }
    }
  }
  return found;
}

it('every call with a wrong argument is refused in one sentence with a code', async () => {
  expect(await otherwise(calls(), false)).toEqual([]);
});

it('and so is every wrong setting', async () => {
  expect(await otherwise(settings(), true)).toEqual([]);
});

it('what needs nothing refuses what it is given and cannot use', () => {
  const taken = WRONG.filter(([, wrong]) => {
    try {
      new api.ElasticCache(wrong as never);
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(api.ElasticCacheError);
      return false;
    }
  });
  const empty = ['undefined', '{}', 'a date', 'an object without prototype', 'a promise'];
  expect(taken.map(([name]) => name)).toEqual(empty);
});
