import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isRight } from '../../metrics/accuracy.js';
import { openTasks, taskNames } from './open-tasks.js';

const seeds = fc.integer({ min: 0, max: 1e6 });
const lengths = fc.integer({ min: 100, max: 1500 });

describe.each(taskNames)('%s', (name) => {
  const taskOf = (seed: number, words: number) =>
    openTasks(`${name}:words=${words}:seed=${seed}`, 1)!.samples[0]!.tasks[0]!;

  it('holds its answer once or as often as it says, behind what the answer is begun with, and not at the end', () => {
    fc.assert(
      fc.property(seeds, lengths, (seed, words) => {
        const { prompt, begun, reference, accepted, among } = taskOf(seed, words);
        expect(prompt).toContain(`${begun} ${reference}.`);
        expect(prompt.split('\n\n').at(-1)).not.toContain(reference);
        for (const said of [`${begun} ${reference}.`, `${reference}`])
          expect(isRight(said, accepted!, among)).toBe(true);
        expect(isRight(taskOf(seed + 1, words).reference!, [[`${reference} and more`]], among)).toBe(false);
      }),
      { numRuns: 50 },
    );
  });

  it('is as long as it is asked to be, to a few sentences', () => {
    fc.assert(
      fc.property(seeds, lengths, (seed, words) => {
        const length = taskOf(seed, words).prompt.split(/\s+/).length;
        expect(length).toBeGreaterThanOrEqual(words);
        expect(length).toBeLessThan(words + 120);
      }),
      { numRuns: 50 },
    );
  });

  it('is the same for a seed, and another for the next', () => {
    const [first, second] = openTasks(`${name}:seed=7`, 2)!.samples;
    expect(openTasks(`${name}:seed=8`, 1)!.samples).toEqual([second]);
    expect(first!.tasks[0]!.prompt).not.toBe(second!.tasks[0]!.prompt);
    expect(openTasks(name, 1)!.source).toMatch(/^\w+:words=\d+:seed=1$/);
  });
});

describe('openTasks', () => {
  it('leaves what is no task to others', () => {
    expect(openTasks('data.json', 1)).toBeUndefined();
    expect(openTasks('constructor', 1)).toBeUndefined();
  });

  it.each([
    ['passkey:word=500', /has no option "word"; it takes words, seed\. Did you mean "words"\?$/],
    ['passkey:words=many', /words is a whole number, such as words=500\.$/],
    ['lookups:words=20', /words are 100 at least/],
    ['lookups:seed', /seed is a whole number/],
  ])('refuses %s', (source, says) => {
    expect(() => openTasks(source, 1)).toThrow(says);
  });
});
