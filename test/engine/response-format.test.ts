import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { State } from '../../src/grammar/grammar.js';
import { createEngine, type Engine, embeddedModel, type LoadedModel, loadElastic } from '../../src/index.js';
import { formOf, type ResponseFormat } from '../../src/models/generation/formatted/response-format.js';
import { Random } from '../../src/random.js';
import { byteLevel, sentencePiece } from '../tokenizers.js';
import { heard, tinyModel } from './tiny-engine.js';

const person = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 12 },
    age: { anyOf: [{ type: 'integer', minimum: 0, maximum: 130 }, { type: 'null' }] },
    seen: { type: 'array', items: { $ref: '#/$defs/thing' }, minItems: 1, maxItems: 2 },
  },
  required: ['name', 'age', 'seen'],
  additionalProperties: false,
  $defs: {
    thing: {
      type: 'object',
      properties: {
        colour: { enum: ['red', 'green', 'café au lait'] },
        share: { type: 'number', minimum: 0, maximum: 1 },
      },
      required: ['colour'],
      additionalProperties: false,
    },
  },
};
const isPerson = new Ajv2020().compile(person);
const responseFormat: ResponseFormat = { type: 'json_schema', schema: person };

let loaded: LoadedModel;
let engine: Engine;
beforeAll(async () => {
  loaded = await loadElastic(embeddedModel());
  engine = await createEngine(loaded, { lanes: 4 });
});
afterAll(async () => {
  await engine.close();
  await loaded.model.dispose();
});

describe('an answer in a form', () => {
  it('is valid by its schema, whatever the model would say, and the same alone and beside others', async () => {
    const ask = (seed: number) =>
      heard(engine.add({ prompt: 'The', maxNewTokens: 150, temperature: 2, topK: 0, seed, responseFormat }));
    const together = await Promise.all([1, 2, 3, 4, 5, 6].map(ask));
    const whole = together.filter(({ reason }) => reason === 'stop');
    expect(whole.length).toBeGreaterThan(2);
    for (const { text } of whole) expect(isPerson(JSON.parse(text)), text).toBe(true);
    expect(together.every(({ reason, error }) => reason !== undefined && !error)).toBe(true);
    expect((await ask(3)).text).toBe(together[2]!.text);
  });

  it('comes before bans, and ends where it is whole', async () => {
    const messages = [{ role: 'user' as const, content: 'Hello' }];
    const format: ResponseFormat = { type: 'json_schema', schema: { const: { a: 1 } } };
    const brace = loaded.tokenizer.encode('{', { add_special_tokens: false })[0]!;
    const asked = { messages, responseFormat: format, logitBias: { [brace]: -100 } };
    expect(await heard(engine.add(asked))).toMatchObject({ text: '{"a":1}', reason: 'stop' });
    const any = await heard(
      engine.add({
        messages,
        responseFormat: { type: 'json_object' },
        temperature: 1,
        seed: 2,
        maxNewTokens: 60,
      }),
    );
    if (any.reason === 'stop') expect(JSON.parse(any.text)).toBeTypeOf('object');
    else expect([any.reason, any.text]).toEqual(['length', expect.stringMatching(/^\{/)]);
  });

  it.each([
    [{ type: 'xml' }, 'invalid-option', 'must be "text", "json_object" or "json_schema"'],
    [{ type: 'json_schema' }, 'invalid-option', 'has no schema'],
    [
      { type: 'json_schema', schema: JSON.parse(`${'{"const":['}${'['.repeat(400)}${']'.repeat(401)}}`) },
      'invalid-option',
      'nested more than 300 deep',
    ],
    [{ type: 'json_object', schema: {} }, 'invalid-option', 'no option "schema"'],
    [{ type: 'json_schema', schema: { not: {} } }, 'invalid-option', '# has "not"'],
    [{ type: 'json_schema', schema: { enum: ['x'.repeat(300_000)] } }, 'invalid-option', 'make it smaller'],
  ])('%j is refused', async (format, code, message) => {
    const { error } = await heard(engine.add({ prompt: 'The', responseFormat: format as ResponseFormat }));
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it('is refused where a tokenizer knows words alone', async () => {
    const tiny = await tinyModel();
    const other = await createEngine(tiny.loaded);
    const { error } = await heard(other.add({ prompt: 'w1', responseFormat }));
    expect(error).toMatchObject({
      code: 'unsupported-model',
      message: expect.stringContaining('no token for each letter'),
    });
    await other.close();
    await tiny.remove();
  });
});

describe.each([
  ['byte level', byteLevel()],
  ['SentencePiece', sentencePiece()],
])('tokens of %s', (_, tokenizer) => {
  it('are the bytes that they are in a text', () => {
    const { grammar, masks } = formOf({ type: 'json_schema', schema: person }, tokenizer)!;
    const random = new Random(7);
    for (let tries = 0; tries < 30; tries++) {
      const tokens: number[] = [];
      for (let state: State = grammar.start; ; ) {
        const mask = masks.of(state);
        const next = [...masks.tokens.keys()].filter((id) => (mask[id >>> 5]! >>> (id & 31)) & 1);
        // Each of those that are left out would break it.
        const other = random.int(0, masks.tokens.length - 1);
        const behind = (id: number) =>
          Array.from(masks.tokens[id] ?? []).reduce<State | undefined>((at, byte) => at?.next(byte), state);
        expect(next.includes(other)).toBe(
          (masks.tokens[other]?.length ?? 0) > 0 && behind(other) !== undefined,
        );
        if (next.length === 0) {
          expect(state.ended).toBe(true);
          break;
        }
        const token = random.pick(next);
        tokens.push(token);
        state = behind(token)!;
      }
      const text = tokenizer.decode(tokens, { skip_special_tokens: true });
      expect(isPerson(JSON.parse(text)), text).toBe(true);
    }
  });
});
