import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Random } from '../../src/random.js';
import { questions } from '../../src/scenes/questions.js';
import { makeScene, objectsOf, textsOf } from '../../src/scenes/scene.js';
import { answerFreely, describeFreely } from './language.js';
import { isRight, readDescription, scoreFreely } from './read.js';

const seeds = fc.integer({ min: 0, max: 2_000_000_000 });
const told = (seed: number) =>
  describeFreely(makeScene(seed), new Random(seed, 3))
    .map(({ text }) => text)
    .join('');

it('a description in free English reads back as the scene, and scores all its facts', () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const scene = makeScene(seed);
      const text = told(seed);
      const read = readDescription(text);
      expect(read.objects, text).toEqual(
        objectsOf(scene).map(({ position, size, color, texture, shape }) => ({
          position,
          size,
          color,
          texture,
          shape,
        })),
      );
      expect(read.texts, text).toEqual(
        textsOf(scene).map(({ position, text: printed, color }) => ({ position, text: printed, color })),
      );
      const { right, total } = scoreFreely(text, scene);
      expect(right, text).toBe(total);
    }),
    { numRuns: 80 },
  );
});

it('what another scene is said to show is not right of this one', () => {
  let right = 0;
  let total = 0;
  for (let seed = 0; seed < 100; seed++) {
    const score = scoreFreely(told(seed + 1000), makeScene(seed));
    right += score.right;
    total += score.total;
  }
  expect(right / total).toBeLessThan(0.4);
});

it('answers in free English are right, and not right where the truth is another', () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const scene = makeScene(seed);
      const random = new Random(seed, 3);
      const asked = questions(scene, random, 20);
      for (const question of asked) {
        const said = answerFreely(question, scene, random);
        expect(isRight(question, said), `${question.question} ${said}`).toBe(true);
        const other = asked.find(({ kind, answer }) => kind === question.kind && answer !== question.answer);
        if (other) expect(isRight(other, said), `${other.question} ${said}`).toBe(false);
      }
    }),
    { numRuns: 40 },
  );
});

it('an answer that names several things of a kind is not right', () => {
  const question = { kind: 'color', question: 'What color is the star?', answer: 'red', cells: [0] } as const;
  const ask = (given: string) => isRight({ ...question, cells: [0] }, given);
  expect([ask('It is red.'), ask('It is red or blue.'), ask('I do not know.')]).toEqual([true, false, false]);
});

it('one scene is told in many ways', () => {
  const scene = makeScene(7);
  const texts = new Set(
    Array.from({ length: 50 }, (_, i) => {
      const pieces = describeFreely(scene, new Random(i, 3));
      return pieces.map(({ text }) => text).join('');
    }),
  );
  expect(texts.size).toBe(50);
});
