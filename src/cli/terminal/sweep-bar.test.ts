import { expect, it } from 'vitest';
import { timeLeft } from './sweep-bar.js';

const progress = { done: 60, total: 100, found: 40, sample: 'a' };

it('the time left goes by the pace of this run, not by what it found', () => {
  expect(timeLeft(progress, 10_000)).toBe('about 20 s left');
  expect(timeLeft(progress, 600_000)).toBe('about 20 min left');
  expect(timeLeft(progress, 6 * 3_600_000)).toBe('about 12.0 h left');
  expect(timeLeft({ ...progress, done: 40 }, 5000)).toBe('time left unknown');
});
