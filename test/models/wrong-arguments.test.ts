import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import * as api from '../../src/index.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';

let directory: string;
let loaded: api.LoadedModel;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-arguments-'));
  await writeTinyLlava(directory);
  loaded = await api.loadElastic(directory, { threads: 1 });
});
afterAll(async () => {
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

const LONGEST = 600;

it('every call with a wrong argument is refused in one sentence with a code', async () => {
  const otherwise: string[] = [];
  const note = (where: string, what: string) => void otherwise.push(`${where} ${what}`);
  for (const [name, run] of calls()) {
    for (const [value, wrong] of WRONG) {
      // A model that is named is loaded in a process of its own: test/engine/worker.test.ts.
      if (name === 'createEngine' && typeof wrong === 'string') continue;
      const where = `${name}(${value})`;
      try {
        await run(wrong);
        note(where, 'returns');
      } catch (error) {
        const { code, message } = error as Partial<api.ElasticCacheError>;
        if (!(error instanceof api.ElasticCacheError) || typeof code !== 'string')
          note(where, `throws ${error}`);
        else if (/\n/.test(message!) || message!.length > LONGEST) note(where, `says ${message}`);
      }
    }
  }
  expect(otherwise).toEqual([]);
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
