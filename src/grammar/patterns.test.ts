import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { accepts, grammarOf, written } from '../../test/grammar/texts.js';
import { Random } from '../random.js';
import { FORMATS } from './formats.js';
import type { Grammar } from './grammar.js';

const random = new Random(7);
const texts = (grammar: Grammar, count = 40) =>
  Array.from({ length: count }, () => written(grammar, random, 400)).flatMap((text): unknown[] =>
    text === undefined ? [] : [JSON.parse(text)],
  );

describe('a pattern', () => {
  it.each([
    '^[A-Z]{2,4}-\\d+$',
    '^(?:red|green|blue)$',
    '^\\p',
    'a',
    '^a|b$',
    '^$',
    '^(?<year>\\d{4})(-\\d{2}){0,2}$',
    '^[^"\\\\a-z]{1,3}$',
    '^[\\w.-]+@x\\.(?:com|org)$',
    '^"quoted"\\n?\\t$',
    '^[é-ü😀]+?$',
    '^.{3}$',
    '^\\x41\\u0042\\u{43}[\\s\\S]$',
    '^\\D\\W\\S$',
    '^[-a]+[a\\-b]$',
    '^(a|b(c|d)*)x$',
    '^[+-]?\\d{1,3}(?:,\\d{3})*(?:\\.\\d+)?$',
  ])('holds what is written to it: %s', (pattern) => {
    if (pattern.includes('\\p')) {
      expect(() => grammarOf({ type: 'string', pattern })).toThrow(
        /has a pattern that is no regular expression/,
      );
      return;
    }
    const expression = new RegExp(pattern, 'u');
    const all = texts(grammarOf({ type: 'string', pattern }));
    expect(all.length).toBeGreaterThan(3);
    for (const text of all) expect(text).toMatch(expression);
  });

  it.each([
    ['^[A-Z]{2,4}-\\d+$', ['AB-1', 'ABCD-123'], ['A-1', 'ABCDE-1', 'AB-', 'xAB-1']],
    ['b', ['b', 'abc', '"b"'], ['', 'a']],
    ['^a|b$', ['a', 'ax', 'xb'], ['xa', 'bx']],
    ['^[^"\\\\]$', ['a', 'é', '😀'], ['"', '\\', 'ab']],
    ['^["\\\\\\n]+$', ['"', '\\"\n'], ['a']],
  ])('takes what it finds, and nothing else: %s', (pattern, right, wrong) => {
    const grammar = grammarOf({ type: 'string', pattern });
    for (const text of right) expect(accepts(grammar, JSON.stringify(text))).toBe(true);
    for (const text of wrong) expect(accepts(grammar, JSON.stringify(text))).toBe(false);
  });

  it('has ASCII alone where a model has no other', () => {
    for (const text of texts(grammarOf({ type: 'string', pattern: '^[a-zé]{2}.$' }, true)))
      expect(text).toMatch(/^[\x20-\x7f]+$/);
  });

  it.each([
    ['(', /is no regular expression/],
    ['^(?=a)b$', /looks around/],
    ['^(?!a)b$', /looks around/],
    ['(a)\\1', /has \\1, which cannot be held to/],
    ['\\bword\\b', /has \\b/],
    ['\\p{L}+', /has \\p/],
    ['a^b', /has \^ elsewhere/],
    ['(a$)b', /has \$ elsewhere/],
    ['^(a*)*$', /counts what may be empty/],
  ])('that cannot be held to is refused: %s', (pattern, reason) => {
    expect(() => grammarOf({ type: 'string', pattern })).toThrow(reason);
  });

  it('is measured beside lengths', () => {
    expect(() => grammarOf({ type: 'string', pattern: '^a+$', maxLength: 5 })).toThrow(
      /say it in the pattern/,
    );
    expect(
      texts(grammarOf({ type: 'string', pattern: '^a{2,4}$', minLength: 1, maxLength: 5 })).length,
    ).toBeGreaterThan(0);
  });
});

describe('a format', () => {
  const own = {
    date: z.iso.date(),
    time: z.string(),
    'date-time': z.iso.datetime({ offset: true }),
    duration: z.iso.duration(),
    uuid: z.uuid(),
    email: z.email(),
    ipv4: z.ipv4(),
    hostname: z.hostname(),
    uri: z.url(),
  } as Record<string, z.ZodType>;

  it.each(Object.keys(FORMATS))('is held to, as zod judges: %s', (format) => {
    const all = texts(grammarOf({ type: 'string', format }), 60);
    expect(all.length).toBeGreaterThan(20);
    for (const text of all) expect(own[format]!.safeParse(text).success).toBe(true);
  });

  it('that is not known is refused with those that are', () => {
    expect(() => grammarOf({ type: 'string', format: 'iban' })).toThrow(
      /format "iban".*take one of date, time/,
    );
  });

  it("comes with zod's own schemas", () => {
    const schema = z.object({
      on: z.iso.date(),
      at: z.iso.datetime(),
      id: z.uuid(),
      ip: z.ipv4(),
      code: z.string().regex(/^[A-Z]{3}$/),
    });
    const all = texts(grammarOf(z.toJSONSchema(schema)), 20);
    expect(all.length).toBeGreaterThan(5);
    for (const value of all) expect(schema.safeParse(value).success).toBe(true);
  });
});
