import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accepts, grammarOf, written } from '../../test/grammar/texts.js';
import { Random } from '../random.js';
import type { Grammar } from './grammar.js';

const ajv = new Ajv2020({ strict: false, validateFormats: false, ownProperties: true });

const name = fc.constantFrom('a', 'ab', 'name', 'é', 'a"b', 'constructor', '😀', '');
const count = fc.integer({ min: 0, max: 3 });
const limit = fc.oneof(
  fc.integer({ min: -20, max: 20 }),
  fc.double({ min: -3, max: 3, noNaN: true }).map((each) => Number(each.toFixed(2))),
);
const optional = { requiredKeys: [] as [] };
const { schema } = fc.letrec<{ schema: unknown }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.constantFrom<unknown>(
      { type: 'boolean' },
      { type: 'null' },
      {},
      { type: ['integer', 'null'] },
      { $ref: '#/$defs/tree' },
    ),
    fc.record(
      { type: fc.constant('string'), minLength: count, maxLength: fc.integer({ min: 3, max: 5 }) },
      { requiredKeys: ['type'] },
    ),
    fc.record(
      { type: fc.constantFrom('integer', 'number'), minimum: limit, maximum: limit },
      { requiredKeys: ['type'] },
    ),
    fc.record({ type: fc.constant('number'), exclusiveMinimum: limit, exclusiveMaximum: limit }),
    fc.record(
      {
        type: fc.constant('integer'),
        minimum: limit,
        multipleOf: fc.constantFrom(1, 2, 3, 7, 0.5, 1.5, 2.25),
      },
      { requiredKeys: ['type'] },
    ),
    fc.record({ enum: fc.array(fc.jsonValue({ maxDepth: 1 }), { minLength: 1, maxLength: 4 }) }),
    fc.jsonValue({ maxDepth: 1 }).map((value) => ({ const: value })),
    fc.record(
      { type: fc.constant('array'), items: tie('schema'), minItems: count, maxItems: count },
      { requiredKeys: ['type'] },
    ),
    fc.record(
      {
        type: fc.constant('array'),
        prefixItems: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }),
        items: fc.constantFrom(false, true),
      },
      { requiredKeys: ['type', 'prefixItems'] },
    ),
    fc.record(
      {
        type: fc.constant('object'),
        properties: fc.dictionary(name, tie('schema'), { maxKeys: 3 }),
        required: fc.uniqueArray(name, { maxLength: 2 }),
        additionalProperties: fc.oneof(fc.boolean(), tie('schema')),
      },
      { requiredKeys: ['type'] },
    ),
    fc.record(
      { anyOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }), title: fc.string() },
      { requiredKeys: ['anyOf'] },
    ),
    fc.record(
      { allOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }), ...{ description: fc.string() } },
      { requiredKeys: ['allOf'] },
    ),
    fc.record({ oneOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }, optional),
  ),
}));
const tree = {
  type: 'object',
  properties: {
    value: { type: 'integer' },
    more: { type: 'array', items: { $ref: '#/$defs/tree' }, maxItems: 2 },
  },
  required: ['value'],
};

describe('texts of a JSON Schema', () => {
  it('are valid by it, whatever is chosen', () => {
    let ended = 0;
    fc.assert(
      fc.property(schema, fc.integer(), fc.boolean(), (own, seed, isAscii) => {
        const whole = { $defs: { tree }, allOf: [own] };
        let grammar: Grammar;
        try {
          grammar = grammarOf(whole, isAscii);
        } catch (cause) {
          expect(cause).toMatchObject({
            code: 'invalid-option',
            message: expect.stringMatching(/^[^\n]+\.$/),
          });
          return;
        }
        const isValid = ajv.compile(whole);
        const random = new Random(seed >>> 0);
        for (let tries = 0; tries < 3; tries++) {
          const text = written(grammar, random);
          if (text === undefined) continue;
          ended++;
          expect(isValid(JSON.parse(text)), `${JSON.stringify(own)}: ${text}`).toBe(true);
        }
      }),
      { numRuns: Number(process.env.FUZZ_RUNS ?? 150) },
    );
    expect(ended).toBeGreaterThan(100);
  });

  it('are all that is valid and written in its order', () => {
    const person = grammarOf({
      type: 'object',
      properties: {
        name: { type: 'string' },
        age: { type: ['integer', 'null'], minimum: 0 },
        tags: { type: 'array', items: { enum: ['a', 'b'] } },
      },
      required: ['name', 'age'],
      additionalProperties: false,
    });
    for (const text of [
      '{"name":"Ann","age":3}',
      '{ "name": "\\u00e9\\n😀", "age": null, "tags": ["a","b"] }',
      '{\n  "name": "",\n  "age": 0\n}',
    ])
      expect(accepts(person, text), text).toBe(true);
    for (const text of [
      '{"age":3,"name":"Ann"}',
      '{"name":"Ann"}',
      '{"name":"Ann","age":-1}',
      '{"name":"Ann","age":1.5}',
      '{"name":"Ann","age":01}',
      '{"name":"a\nb","age":1}',
      '{"name":"","age":1,"tags":["c"]}',
      '{"name":"","age":1}}',
    ])
      expect(accepts(person, text), text).toBe(false);
    const tagged = grammarOf({
      oneOf: [
        {
          type: 'object',
          properties: { kind: { const: 'a' }, size: { type: 'number', exclusiveMinimum: 0, maximum: 0.5 } },
          required: ['kind', 'size'],
        },
        { type: 'object', properties: { kind: { const: 'b' } }, required: ['kind'] },
      ],
    });
    expect(
      ['{"kind":"a","size":0.25}', '{"kind":"a","size":0.0}', '{"kind":"a"}', '{"kind":"b"}'].map((text) =>
        accepts(tagged, text),
      ),
    ).toEqual([true, false, false, true]);
  });

  it.each([
    [{ not: {} }, '# has "not"'],
    [
      { type: 'object', properties: { a: { type: 'array', uniqueItems: true } } },
      '#/properties/a has "uniqueItems"',
    ],
    [{ oneOf: [{ type: 'string' }, { type: 'string', maxLength: 3 }] }, 'may both hold'],
    [{ $ref: '#' }, 'refers to itself'],
    [{ $ref: 'https://example.org/a' }, 'which is not in it'],
    [{ $ref: '#/$defs/a' }, 'which is not there'],
    [{ type: 'text' }, 'no type of JSON'],
    [{ type: 'object', properties: { next: { $ref: '#' } }, required: ['next'] }, 'nothing is valid by'],
    [{ type: 'integer', exclusiveMinimum: 1, exclusiveMaximum: 2 }, 'nothing is valid by'],
    [{ enum: ['a'], minLength: 3 }, 'beside values that are listed'],
    [{ properties: 3 }, 'no object'],
    [{ const: 'x'.repeat(3000) }, 'more than 2000 characters'],
    [{ multipleOf: 3e-20 }, 'too small a part'],
    [JSON.parse('{"__proto__": 1}'), 'has "__proto__"'],
    [[], 'is no schema'],
    [JSON.parse(`${'{"anyOf":['.repeat(200)}{}${']}'.repeat(200)}`), 'one schema too many'],
  ])('%j is refused by name', (own, message) => {
    expect(() => grammarOf(own)).toThrow(message);
  });

  it('takes as long for many values, and for long texts, as for few', () => {
    const many = grammarOf({ enum: Array.from({ length: 5000 }, (_, index) => `value ${index}`) });
    expect(accepts(many, '"value 4999"')).toBe(true);
    const names = Array.from({ length: 2000 }, (_, index) => `${'n'.repeat(60)}${index}`);
    const wide = grammarOf({
      type: 'object',
      properties: Object.fromEntries(names.map((each) => [each, { type: 'null' }])),
      required: names,
    });
    expect(accepts(wide, JSON.stringify(Object.fromEntries(names.map((each) => [each, null]))))).toBe(true);
    const text = grammarOf({ type: 'string', maxLength: 10_000 });
    expect(accepts(text, JSON.stringify('x'.repeat(10_000)))).toBe(true);
    expect(accepts(text, JSON.stringify('x'.repeat(10_001)))).toBe(false);
  });
});
