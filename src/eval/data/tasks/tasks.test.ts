import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isRight } from '../../metrics/accuracy.js';
import { openTasks, taskNames } from './open-tasks.js';

const seeds = fc.integer({ min: 0, max: 1e6 });
const lengths = fc.integer({ min: 400, max: 1500 });
const sampleOf = (source: string) => openTasks(source, { count: 1 })!.samples[0]!;
/** Hundredths of a text before a statement in it. */
const depthOf = (context: string, stated: string) => (100 * context.indexOf(stated)) / context.length;

describe.each(taskNames)('%s', (name) => {
  it('states every answer in its text as an answer is begun, and asks without giving it away', () => {
    fc.assert(
      fc.property(seeds, lengths, (seed, words) => {
        const { context, tasks } = sampleOf(`${name}:words=${words}:seed=${seed}`);
        for (const { prompt, begun, reference, accepted, among } of tasks) {
          for (const stated of `${begun} ${reference}`.split(/(?<=\.) (?=On )/))
            expect(context).toContain(stated);
          expect(prompt).not.toContain(reference);
          if (!accepted) continue;
          for (const said of [`${begun} ${reference}.`, `${reference}`])
            expect(isRight(said, accepted, among)).toBe(true);
          expect(isRight('none', accepted, among)).toBe(false);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('is as long as it is asked to be, to a few sentences', () => {
    fc.assert(
      fc.property(seeds, lengths, (seed, words) => {
        const length = sampleOf(`${name}:words=${words}:seed=${seed}`).context!.split(/\s+/).length;
        expect(length).toBeGreaterThanOrEqual(words);
        expect(length).toBeLessThan(words + 200);
      }),
      { numRuns: 50 },
    );
  });

  it('is the same for a seed, and another for the next', () => {
    const [first, second] = openTasks(`${name}:seed=7`, { count: 2 })!.samples;
    expect(openTasks(`${name}:seed=8`, { count: 1 })!.samples).toEqual([second]);
    expect(first!.context).not.toBe(second!.context);
    expect(openTasks(name, { count: 1 })!.source).toMatch(/^\w+:words=\d+:items=\d+:seed=1$/);
  });
});

describe('options', () => {
  it.each(['passkey', 'lookups'])('%s: depth says where what is asked for stands', (name) => {
    for (const depth of [0, 30, 100]) {
      for (const seed of [1, 2, 3]) {
        const { context, tasks } = sampleOf(`${name}:words=1500:items=5:depth=${depth}:seed=${seed}`);
        const { begun, reference } = tasks[0]!;
        expect(Math.abs(depthOf(context!, `${begun} ${reference}`) - depth)).toBeLessThan(5);
      }
    }
  });

  it('items are in the text, or asked for', () => {
    expect(sampleOf('passkey:items=4').context!.match(/ pass key is \d{5}\. Remember/g)).toHaveLength(4);
    expect(sampleOf('questions:items=12').tasks).toHaveLength(12);
    expect(sampleOf('summaries:items=7').tasks[0]!.reference!.match(/On \w+day,/g)).toHaveLength(6);
  });

  it.each([
    [
      'passkey:word=500',
      /has no option "word"; it takes words, items, depth, seed\. Did you mean "words"\?$/,
    ],
    ['questions:depth=5', /has no option "depth"; it takes words, items, seed\.$/],
    ['passkey:words=many', /words is a whole number, such as words=500\.$/],
    ['lookups:words=20', /words=20 is out of range; give 180 to 1000000\.$/],
    ['passkey:items=11', /items=11 is out of range; give 1 to 10\.$/],
    ['passkey:depth=101', /depth=101 is out of range/],
    ['lookups:seed', /seed is a whole number/],
  ])('refuses %s', (source, says) => {
    expect(() => openTasks(source, { count: 1 })).toThrow(says);
  });

  it('the split of the report has seeds that the one for development cannot reach', () => {
    const [dev, report] = (['dev', 'report'] as const).map(
      (split) => openTasks('passkey:seed=7', { count: 1, split })!.source,
    );
    expect([dev, report]).toEqual([
      'passkey:words=750:items=1:seed=7',
      'passkey:words=750:items=1:seed=500007',
    ]);
    expect(() => openTasks('passkey:seed=499999', { count: 2, split: 'dev' })).toThrow(
      /goes beyond seed 499999, and with --split seeds are below 500000; give a smaller seed\.$/,
    );
  });

  it('leaves what is no task to others', () => {
    expect(openTasks('data.json', { count: 1 })).toBeUndefined();
    expect(openTasks('constructor', { count: 1 })).toBeUndefined();
  });
});
