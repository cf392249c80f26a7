import { type LogitsProcessorList, Tensor } from '@huggingface/transformers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DrawnToken, draw, type Sampling, withSampling } from './sampling.js';

const all: Omit<Sampling, 'seed'> = { temperature: 1, topK: 0, topP: 1, minP: 0 };

/** Which tokens may be drawn and how likely each is, by sorting all of them: the obvious version. */
function distribution(
  scores: readonly number[],
  { temperature, topK, topP, minP }: Omit<Sampling, 'seed'>,
): number[] {
  const weights = scores.map((score) => Math.exp(score / temperature));
  const least = minP * Math.max(...weights) * (1 - 1e-12);
  const order = [...scores.keys()]
    .filter((token) => weights[token]! >= least)
    .sort((a, b) => weights[b]! - weights[a]! || a - b);
  const first = topK > 0 ? order.slice(0, topK) : order;
  const total = first.reduce((sum, token) => sum + weights[token]!, 0);
  const kept = first.filter(
    (_, place) => first.slice(0, place).reduce((sum, token) => sum + weights[token]!, 0) < topP * total,
  );
  const mass = kept.reduce((sum, token) => sum + weights[token]!, 0);
  return scores.map((_, token) => (kept.includes(token) ? weights[token]! / mass : 0));
}

const settings = fc.record({
  scores: fc.array(
    fc.integer({ min: -40, max: 40 }).map((tenths) => tenths / 10),
    { minLength: 1, maxLength: 20 },
  ),
  temperature: fc.constantFrom(0.3, 0.7, 1, 2),
  topK: fc.integer({ min: 0, max: 8 }),
  topP: fc.constantFrom(0.1, 0.5, 0.83, 0.95, 1),
  minP: fc.constantFrom(0, 0.07, 0.31, 1),
});

describe('draw', () => {
  it('falls on each token as often as temperature, top-k, top-p and min-p say', () => {
    fc.assert(
      fc.property(settings, ({ scores, ...rest }) => {
        const expected = distribution(scores, rest);
        const counts = scores.map(() => 0);
        const draws = 400;
        for (let i = 0; i < draws; i++) counts[draw(Float32Array.from(scores), rest, (i + 0.5) / draws)]!++;
        // Chance is laid out evenly here, so each token is off by the ends of its own stretch at most.
        counts.forEach((count, token) => {
          expect(Math.abs(count / draws - expected[token]!)).toBeLessThanOrEqual(1.01 / draws);
        });
      }),
    );
  });

  it('never draws what has no probability, and takes the last token at the upper end', () => {
    const scores = Float32Array.from([Number.NEGATIVE_INFINITY, 1, Number.NEGATIVE_INFINITY, 0]);
    expect(draw(scores, all, 0)).toBe(1);
    expect(draw(scores, all, 1 - Number.EPSILON)).toBe(3);
  });
});

const scoresOf = (rows: number) => new Tensor('float32', new Float32Array(rows * 64), [rows, 64]);
const drawn = (processor: DrawnToken, rows = 1) => {
  const { data } = processor._call([], scoresOf(rows));
  return Array.from(data as Float32Array).flatMap((score, at) => (score === 0 ? [at % 64] : []));
};
const tokens = (processor: DrawnToken, count = 12) =>
  Array.from({ length: count }, () => drawn(processor)[0]);

describe('seeds', () => {
  const seeded = (seed: number) => new DrawnToken({ ...all, seed });

  it('draw the same again, whoever draws in between', () => {
    const alone = tokens(seeded(7));
    const [one, other] = [seeded(7), seeded(8)];
    const mixed = alone.map(() => [drawn(one)[0], drawn(other)[0]]);
    expect(mixed.map(([first]) => first)).toEqual(alone);
    expect(mixed.map(([, second]) => second)).toEqual(tokens(seeded(8)));
    expect(tokens(seeded(8))).not.toEqual(alone);
  });

  it('give the first row of a batch what it gets alone, and the others something else', () => {
    const batch = seeded(7);
    const rows = Array.from({ length: 12 }, () => drawn(batch, 2));
    expect(rows.map(([first]) => first)).toEqual(tokens(seeded(7)));
    expect(rows.map(([, second]) => second)).not.toEqual(tokens(seeded(7)));
  });
});

describe('withSampling', () => {
  const model = { generation_config: { do_sample: true, temperature: 0.5 } };

  it('draws where the options or the model say so, and is greedy where neither does', () => {
    const sampled = withSampling<Record<string, unknown>>(model, { seed: 1 });
    expect(sampled.do_sample).toBe(false);
    expect([...(sampled.logits_processor as LogitsProcessorList)][0]).toBeInstanceOf(DrawnToken);
    expect(withSampling(model, { seed: 1, do_sample: false })).toEqual({ do_sample: false });
    // What transformers.js can do is left to it.
    expect(withSampling(model, { top_k: 5 })).toEqual({ top_k: 5 });
    expect(withSampling<Record<string, unknown>>(model, { top_p: 0.5 }).do_sample).toBe(false);
    for (const temperature of [0, 1e-320]) {
      expect(withSampling(model, { temperature })).toEqual({ temperature, do_sample: false });
    }
    expect(withSampling({}, { seed: 1 })).toEqual({});
  });

  it.each([
    [{ temperature: -1 }, 'temperature is -1; it must be a number from 0'],
    [{ temperature: Number.NaN }, 'temperature is NaN'],
    [{ top_k: 1.5 }, 'top_k is 1.5; it must be a whole number from 1, or 0 for all tokens.'],
    [{ top_p: 0 }, 'top_p is 0; it must be a number above 0 and at most 1.'],
    [{ top_p: 1.1 }, 'top_p is 1.1'],
    [{ min_p: 2 }, 'min_p is 2; it must be a number from 0, for all, to 1.'],
    [{ seed: -1 }, 'seed is -1; it must be a whole number from 0.'],
    [{ seed: '1' }, 'seed is "1"'],
  ])('refuses %j', (options, message) => {
    expect(() => withSampling({}, options)).toThrow(message);
    expect(() => withSampling({}, options)).toThrow(expect.objectContaining({ code: 'invalid-option' }));
  });
});
