import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesPerHead, decode, encode, formatOf, type KVFormat, type Rows } from './formats.js';

const row = fc.array(fc.float({ min: -1000, max: 1000, noNaN: true }), { minLength: 1, maxLength: 16 });

function rows(format: KVFormat, size: number, count: number): Rows {
  const { allocate, scaled } = formatOf(format);
  return { numbers: allocate(size * count), ...(scaled && { scales: new Float32Array(count) }) };
}

/** A row written into the middle of three, and read back. */
function through(format: KVFormat, values: number[]): { back: Float64Array; scale: number; held: Rows } {
  const size = values.length;
  const held = rows(format, size, 3);
  encode(Float32Array.from([99, ...values]), 1, size, held, 1);
  const back = new Float64Array(size);
  decode(held, 1, size, back);
  return { back, scale: held.scales?.[1] ?? 1, held };
}

describe('formats of memory', () => {
  it('float32 holds what it is given', () =>
    fc.assert(
      fc.property(row, (values) => {
        expect(Array.from(through('float32', values).back)).toEqual(values);
      }),
    ));

  it('float16 is right to 2^-11 of each number', () =>
    fc.assert(
      fc.property(row, (values) => {
        through('float16', values).back.forEach((value, i) => {
          expect(Math.abs(value - values[i]!)).toBeLessThanOrEqual(
            Math.max(2 ** -11 * Math.abs(values[i]!), 2 ** -25),
          );
        });
      }),
    ));

  it('int8 is right to half of its scale, a 127th of the largest number of the row', () =>
    fc.assert(
      fc.property(row, (values) => {
        const { back, scale } = through('int8', values);
        const most = Math.max(...values.map(Math.abs));
        expect(Math.abs(scale - most / 127)).toBeLessThanOrEqual(1e-7 * most + 1e-45);
        back.forEach((value, i) => {
          // A row of next to nothing, whose scale is 0, is held as zeros.
          expect(Math.abs(value - values[i]!)).toBeLessThanOrEqual(scale > 0 ? 0.500001 * scale : most);
        });
      }),
    ));

  it.each(['float32', 'float16', 'int8'] as const)('%s: other rows stay', (format) => {
    const { held } = through(format, [1, -2, 3]);
    const other = new Float64Array(3);
    for (const index of [0, 2]) {
      decode(held, index, 3, other);
      expect(Array.from(other)).toEqual([0, 0, 0]);
    }
  });

  it.each(['float32', 'float16', 'int8'] as const)('%s: no number stays none', (format) => {
    expect(through(format, [1, Number.NaN, 3]).back[1]).toBeNaN();
  });

  it('counts the scales of int8', () => {
    expect([bytesPerHead('float32', 64), bytesPerHead('float16', 64), bytesPerHead('int8', 64)]).toEqual([
      512, 256, 136,
    ]);
  });
});
