import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isRight } from './accuracy.js';
import { shapeName } from './latency.js';
import { perplexity, totalSurprise } from './perplexity.js';

describe('perplexity', () => {
  it('of a guess among n is n, and of what is certain 1', () => {
    const guess = totalSurprise(new Float64Array(5).fill(Math.log(8)));
    expect(guess).toEqual({ nats: expect.closeTo(5 * Math.log(8)), tokens: 5 });
    expect(perplexity([guess])).toBeCloseTo(8);
    expect(perplexity([totalSurprise(new Float64Array(3))])).toBe(1);
  });

  it('weighs answers by their tokens', () => {
    const long = { nats: 9 * Math.log(2), tokens: 9 };
    const short = { nats: Math.log(1024), tokens: 1 };
    expect(perplexity([long, short])).toBeCloseTo(2 ** 1.9);
  });

  it('lies between those of the answers', () => {
    const answer = fc.record({
      nats: fc.double({ min: 0, max: 50, noNaN: true }),
      tokens: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(fc.array(answer, { minLength: 1, maxLength: 8 }), (answers) => {
        const each = answers.map((one) => perplexity([one]));
        expect(perplexity(answers)).toBeGreaterThanOrEqual(Math.min(...each) * (1 - 1e-9));
        expect(perplexity(answers)).toBeLessThanOrEqual(Math.max(...each) * (1 + 1e-9));
      }),
    );
  });
});

describe('accuracy', () => {
  it.each([
    ['The red star.', [['red star']], true],
    ['a red star', [['blue star'], ['red star']], true],
    ['red', [['red star']], false],
    ['There is a banana, and two Apples.', [['apples', 'banana']], true],
    ['pineapples and a banana', [['apples', 'banana']], false],
    ['It is 1.5.', [['it is 1.5']], true],
    ['15', [['1.5']], false],
    ['x = -1 or x = -5.', [['-1', '-5']], true],
    ['x = 1 or x = 5.', [['-1', '-5']], false],
    ['3.5 and 2', [['5', '2']], false],
    ['3-5 apples', [['5', 'apples']], true],
    ['only a banana', [['apples', 'banana'], ['pear']], false],
  ])('"%s" against %j: %s', (answer, accepted, right) => {
    expect(isRight(answer, accepted)).toBe(right);
  });
});

it('shapes are named as they are asked for', () => {
  expect(shapeName({ lengths: undefined, batch: 1 })).toBe('own');
  expect(shapeName({ lengths: { prompt: 1024, output: 512 }, batch: 4 })).toBe('1024+512 x 4');
});
