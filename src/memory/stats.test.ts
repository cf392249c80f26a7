import { describe, expect, it } from 'vitest';
import { ofOne } from '../../test/cache/play.js';
import { cacheWith, played, steps } from '../../test/cache/played.js';
import { elastic } from '../policies/elastic.js';
import { elasticPlus } from '../policies/elastic-plus.js';
import { local } from '../policies/local.js';

const bytesPerEntry = 2 * 2 * 2 * 2 * 4;

describe('stats', () => {
  it('counts what is held, what is allocated and what a full cache would hold', () => {
    const stats = played(cacheWith(), ...ofOne([100], ...steps(5))).stats();
    expect(stats).toMatchObject({
      policy: 'elastic',
      tokensSeen: 105,
      tokensHeld: 21,
      bytesHeld: 21 * bytesPerEntry,
      bytesFull: 105 * bytesPerEntry,
    });
    expect(stats.layers).toHaveLength(2);
    expect(stats.bytesAllocated).toBe(stats.layers[0]!.bytesAllocated * 2);
  });

  it.each([
    ['float16', 'float16', 0.5, 0.5],
    ['int8', 'float16', (2 + 4) / 8, 0.5],
    ['int8', 'float32', (2 + 4) / 8, 1],
  ] as const)(
    'counts bytes as they are: held as %s, in the stock decoder %s',
    (format, stockFormat, held, stock) => {
      const { bytesHeld, bytesFull } = played(cacheWith({ format, stockFormat }), ...ofOne([100])).stats();
      expect([bytesHeld, bytesFull]).toEqual([20 * bytesPerEntry * held, 100 * bytesPerEntry * stock]);
    },
  );

  it('a budget in bytes counts all layers and sequences, in the format in which they are held', () => {
    const bytes = 10 * 3 * bytesPerEntry;
    const [wide, half] = (['float32', 'float16'] as const).map((format) => {
      const cache = cacheWith({ budget: { bytes }, batch: 3, format });
      return played(cache, { chunks: [[50], [50], [50]] }, ...steps(9));
    });
    expect([wide!.held(0), wide!.stats().bytesHeld]).toEqual([10, bytes]);
    expect([half!.held(0), half!.stats().bytesHeld]).toEqual([20, bytes]);
  });

  it('of sequences of unequal length counts the tokens of each', () => {
    const cache = played(cacheWith({ batch: 2 }), { chunks: [[100], [50]] }, 'step');
    expect(cache.stats()).toMatchObject({
      tokensSeen: 101,
      tokensHeld: 20,
      bytesHeld: (20 + 10) * bytesPerEntry,
      bytesFull: (101 + 51) * bytesPerEntry,
    });
  });
});

describe('the bias of merged entries', () => {
  it.each([
    ['elastic', { ...elastic({ distance: -5 }), logCountBias: 1 }, 1],
    ['heads that choose for themselves', elasticPlus({ window: 10 }), 0.3],
    ['none', elastic(), 0],
  ] as const)(
    'is log(count) times what the policy says, and follows them when rows move: %s',
    (_, policy, times) => {
      const cache = cacheWith({ policy });
      played(cache, ...ofOne([90, 10], [60, 60], ...steps(5)));
      for (const layer of [0, 1]) {
        const { bias, capacity, layout } = cache.past(layer);
        const positions = cache.positions(layer);
        for (let head = 0; head < cache.biases; head++) {
          const { positions: held, counts } = cache.entries(layer, 0, head);
          const start = head * capacity + layout.offset(0, head);
          const rows = Array.from(held, (position) => positions.indexOf(position, start));
          expect(rows.map((row) => bias[row])).toEqual(
            Array.from(counts, (count) => expect.closeTo(times * Math.log(count), 6)),
          );
          expect(Math.max(...counts)).toBeGreaterThan(1);
        }
      }
    },
  );
});

describe('positions', () => {
  it('are the original ones', () => {
    expect(played(cacheWith(), ...ofOne([100], ...steps(5))).nextPosition(0)).toBe(105);
  });

  it('are entries held where a policy says so', () => {
    const policy = { ...local(), compactPositions: true };
    expect(played(cacheWith({ policy }), ...ofOne([100])).nextPosition(0)).toBe(20);
  });
});
