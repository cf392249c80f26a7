import { Tensor } from '@huggingface/transformers';
import { describe, expect, it } from 'vitest';
import { LogProbabilities } from './log-probabilities.js';
import { type Penalties, penalizing } from './penalties.js';

const scoresOf = (...rows: number[][]) =>
  new Tensor('float32', Float32Array.from(rows.flat()), [rows.length, rows[0]!.length]);
const ids = (...tokens: number[]) => tokens.map(BigInt);

/** What scores become after a prompt of two tokens and an answer. */
function after(answer: number[], asked: Penalties, scores = [1, 2, 3, -4]) {
  const processors = penalizing(asked, 2);
  return Array.from(processors._call([ids(0, 1, ...answer)], scoresOf(scores)).data as Float32Array);
}

describe('penalties', () => {
  it('of presence and frequency are for tokens of the answer, not of the prompt', () => {
    expect(after([2, 3, 3], { presencePenalty: 0.5 })).toEqual([1, 2, 2.5, -4.5]);
    expect(after([2, 3, 3], { frequencyPenalty: 0.5 })).toEqual([1, 2, 2.5, -5]);
    expect(after([], { presencePenalty: 0.5, frequencyPenalty: 1 })).toEqual([1, 2, 3, -4]);
  });

  it('of repetition is for both', () => {
    expect(after([3], { repetitionPenalty: 2 })).toEqual([0.5, 1, 3, -8]);
  });

  it('a bias is added, and never is never', () => {
    expect(after([], { logitBias: { 1: 5, 2: -100, 9: 1 } })).toEqual([1, 7, Number.NEGATIVE_INFINITY, -4]);
  });

  it('nothing asked is nothing done', () => {
    expect([...penalizing({}, 2)]).toEqual([]);
  });

  it.each([
    [{ repetitionPenalty: 0 }, 'repetitionPenalty is 0; it must be a number above 0.'],
    [{ presencePenalty: Number.NaN }, 'presencePenalty is NaN'],
    [{ frequencyPenalty: '1' }, 'frequencyPenalty is "1"'],
    [{ logitBias: { dog: 1 } }, 'logitBias of "dog" is 1; it must be a number, by the id of a token.'],
    [{ logitBias: { 1: 'x' } }, 'logitBias of "1" is "x"'],
  ])('refuses %j', (asked, message) => {
    expect(() => penalizing(asked as Penalties, 0)).toThrow(message);
  });
});

describe('logarithms of probabilities', () => {
  it('are those of the scores as they were seen, the likeliest first', () => {
    const watched = new LogProbabilities(2);
    const scores = [1, 3, 2, 3];
    const seen = scoresOf(scores);
    watched._call([], seen);
    (seen.data as Float32Array).fill(0);
    const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
    const logprob = (score: number) => expect.closeTo(Math.log(Math.exp(score) / total), 6);
    expect(watched.of(2)).toEqual({
      token: 2,
      logprob: logprob(2),
      top: [
        { token: 1, logprob: logprob(3) },
        { token: 3, logprob: logprob(3) },
      ],
    });
  });

  it.each([-1, 21, 1.5])('of %d tokens are refused', (top) => {
    expect(() => new LogProbabilities(top)).toThrow('it must be a whole number from 0 to 20');
  });
});
