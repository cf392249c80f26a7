import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHalf, narrow, toHalf, widen } from './half-floats.js';

const LARGEST = 65504;

/** All halves that are numbers, in ascending order, without -0. */
const halves = Array.from({ length: 0x7c00 }, (_, bits) => bits);
const numbers = [
  ...halves.toReversed().map((bits) => fromHalf(bits | 0x8000)),
  ...halves.slice(1).map(fromHalf),
];

describe('half precision', () => {
  it('every half is a number of its own, which comes back as it was', () => {
    for (let bits = 0; bits < 1 << 16; bits++) {
      const value = fromHalf(bits);
      if (Number.isNaN(value)) expect(fromHalf(toHalf(value))).toBeNaN();
      else if (toHalf(value) !== bits) expect([bits, toHalf(value)]).toEqual([bits, bits]);
    }
    for (let i = 1; i < numbers.length; i++)
      if (!(numbers[i]! > numbers[i - 1]!)) expect(numbers[i]).toBeGreaterThan(numbers[i - 1]!);
  });

  it.each([
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3c00, 1],
    [0x3555, 0.333251953125],
    [0x7bff, LARGEST],
    [0xc000, -2],
    [0x7c00, Number.POSITIVE_INFINITY],
  ])('%x is %d', (bits, value) => {
    expect(fromHalf(bits)).toBe(value);
    expect(toHalf(value)).toBe(bits);
  });

  it('rounds to the nearest, and of two equally near to the even one', () =>
    fc.assert(
      fc.property(fc.float({ min: -LARGEST, max: LARGEST, noNaN: true }), (value) => {
        const at = numbers.findLastIndex((number) => number <= value);
        const [below, above] = [numbers[at]!, numbers[at + 1] ?? numbers[at]!];
        const [down, up] = [value - below, above - value];
        const nearest = down < up ? below : up < down ? above : (toHalf(below) & 1) === 0 ? below : above;
        // Not toBe: what is rounded to 0 keeps its sign.
        expect(fromHalf(toHalf(value)) === nearest).toBe(true);
      }),
      { numRuns: 500 },
    ));

  it('halfway between two halves goes to the even one', () => {
    for (let bits = 0; bits < 0x7bff; bits++) {
      const middle = (fromHalf(bits) + fromHalf(bits + 1)) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      if (toHalf(middle) !== even) expect([bits, toHalf(middle)]).toEqual([bits, even]);
    }
  });

  it('what is too large becomes infinite, halfway to it too; what is too small becomes 0 of its sign', () => {
    expect(fromHalf(toHalf(65519.99))).toBe(LARGEST);
    expect(fromHalf(toHalf(65520))).toBe(Number.POSITIVE_INFINITY);
    expect(fromHalf(toHalf(-1e30))).toBe(Number.NEGATIVE_INFINITY);
    expect(toHalf(-1e-30)).toBe(0x8000);
  });

  it('goes over parts of arrays', () => {
    const to = new Uint16Array(5).fill(7);
    narrow(Float32Array.of(9, 1, -2, 9), 1, to, 2, 2);
    expect(Array.from(to)).toEqual([7, 7, 0x3c00, 0xc000, 7]);
    const back = new Float64Array(3);
    widen(to, 2, back, 1, 2);
    expect(Array.from(back)).toEqual([0, 1, -2]);
  });
});
