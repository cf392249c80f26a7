import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBFloat16, decodeFloat16 } from '../reading/half-floats.js';
import { halves, int4Blocks, int8Scales, int8Transposed, transposed } from './weights.js';

const matrix = fc
  .record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 150 }) })
  .chain(({ rows, columns }) =>
    fc
      .array(fc.float({ noNaN: true, min: -4, max: 4 }), {
        minLength: rows * columns,
        maxLength: rows * columns,
      })
      .map((values) => ({ rows, columns, values: Float32Array.from(values) })),
  );
const joined = (chunks: Iterable<Uint8Array>) => Uint8Array.from(Buffer.concat([...chunks])).buffer;

describe('weights', () => {
  it('a transpose in strips is the transpose', () => {
    fc.assert(
      fc.property(matrix, ({ rows, columns, values }) => {
        const out = new Float32Array(joined(transposed(values, rows, columns)));
        const expected = new Float32Array(values.length);
        values.forEach((value, i) => {
          expected[(i % columns) * rows + Math.floor(i / columns)] = value;
        });
        expect(out).toEqual(expected);
      }),
    );
  });

  it('int8 is the nearest of 255 levels of its row, transposed', () => {
    fc.assert(
      fc.property(matrix, ({ rows, columns, values }) => {
        const scales = int8Scales(values, rows, columns);
        const out = new Int8Array(joined(int8Transposed(values, rows, columns, scales)));
        const offBy = values.map((value, i) => {
          const row = Math.floor(i / columns);
          return Math.abs(out[(i % columns) * rows + row]! * scales[row]! - value) / (scales[row]! || 1);
        });
        expect(Math.max(...offBy)).toBeLessThan(0.5001);
        expect(Math.min(...out)).toBeGreaterThanOrEqual(-127);
      }),
    );
  });

  it('int8 takes a row of nothing but subnormal numbers as zeros', () => {
    const values = Float32Array.from([1, -2, 1e-43, 0]);
    const scales = int8Scales(values, 2, 2);
    expect(scales[1]).toBe(0);
    expect([...new Int8Array(joined(int8Transposed(values, 2, 2, scales)))]).toEqual([64, 0, -127, 0]);
  });

  it('int4 with zero points is the nearest of sixteen levels from the least to the largest value, and padding is zero', () => {
    fc.assert(
      fc.property(matrix, fc.constantFrom(32, 64, 128), ({ rows, columns, values }, blockSize) => {
        const { data, scales, zeros } = int4Blocks(values, rows, columns, { blockSize, asymmetric: true });
        const blocks = Math.ceil(columns / blockSize);
        const wrong: string[] = [];
        for (let i = 0; i < rows * blocks * blockSize; i++) {
          const [row, place] = [Math.floor(i / (blocks * blockSize)), i % (blocks * blockSize)];
          const block = Math.floor(place / blockSize);
          const nibble = (bytes: Uint8Array, at: number) => (bytes[at >> 1]! >> (at & 1 ? 4 : 0)) & 15;
          const zero = nibble(zeros, row * Math.ceil(blocks / 2) * 2 + block);
          const value = place < columns ? values[row * columns + place]! : 0;
          const scale = scales[row * blocks + block]!;
          // The zero point is rounded too: up to a whole step at the ends.
          const error = Math.abs((nibble(data, i) - zero) * scale - value);
          if (error > 1.0001 * scale + 1e-30) wrong.push(`${i}: ${value} is off by ${error}`);
        }
        expect(wrong).toEqual([]);
      }),
    );
  });

  it('zero points make weights that are not around 0 more exact', () => {
    const values = Float32Array.from({ length: 4096 }, (_, i) => 1 + Math.sin(i * i) / 2);
    const error = (asymmetric: boolean) => {
      const { data, scales, zeros } = int4Blocks(values, 32, 128, { blockSize: 32, asymmetric });
      const nibble = (bytes: Uint8Array, at: number) => (bytes[at >> 1]! >> (at & 1 ? 4 : 0)) & 15;
      const off = (value: number, i: number) =>
        (nibble(data, i) - nibble(zeros, i >> 5)) * scales[i >> 5]! - value;
      return Math.sqrt(values.reduce((sum, value, i) => sum + off(value, i) ** 2, 0) / values.length);
    };
    expect(error(true)).toBeLessThan(0.75 * error(false));
  });

  it('int4 is within a step of every value, exact at the extreme one, and padding is zero', () => {
    fc.assert(
      fc.property(matrix, fc.constantFrom(32, 64, 128), ({ rows, columns, values }, blockSize) => {
        const { data, scales } = int4Blocks(values, rows, columns, { blockSize, asymmetric: false });
        const padded = Math.ceil(columns / blockSize) * blockSize;
        const wrong: string[] = [];
        for (let i = 0; i < rows * padded; i++) {
          const level = ((data[i >> 1]! >> (i & 1 ? 4 : 0)) & 15) - 8;
          const column = i % padded;
          const value = column < columns ? values[Math.floor(i / padded) * columns + column]! : 0;
          const scale = Math.abs(scales[Math.floor(i / blockSize)]!);
          // Beyond level 7, opposite to the extreme value, there is no level 8: up to a whole step there, half elsewhere.
          const bound = column >= columns ? 0 : Math.abs(value) > 7.5 * scale ? 1.0001 : 0.5001;
          const error = Math.abs(level * scales[Math.floor(i / blockSize)]! - value);
          if (error > bound * scale + 1e-30) wrong.push(`${i}: ${value} is off by ${error}`);
        }
        expect(wrong).toEqual([]);
      }),
    );
  });
});

describe('half precision', () => {
  it('numbers that it cannot hold are refused by the name of their tensor', () => {
    const bytes = (...values: number[]) => [new Uint8Array(Float32Array.from(values).buffer)];
    expect(new Uint16Array(joined(halves('scale', bytes(1, 65504, -2))))).toEqual(
      Uint16Array.of(0x3c00, 0x7bff, 0xc000),
    );
    expect(() => joined(halves('scale', bytes(1, -65520)))).toThrow('Tensor "scale" holds -65520');
  });

  const widened = (decode: typeof decodeFloat16, ...bits: number[]) => {
    const out = new Float32Array(bits.length);
    decode(Uint16Array.from(bits), out);
    return [...out];
  };

  it('float16: signs, subnormals, extremes, infinities', () => {
    expect(widened(decodeFloat16, 0x3c00, 0xc000, 0x3555, 0x0001, 0x03ff, 0x7bff, 0x7c00, 0xfc00)).toEqual([
      1,
      -2,
      1365 / 4096,
      2 ** -24,
      1023 * 2 ** -24,
      65504,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]);
    expect(widened(decodeFloat16, 0x7e00)).toEqual([Number.NaN]);
  });

  it('bfloat16: the upper half of a float32', () => {
    expect(widened(decodeBFloat16, 0x3f80, 0xc049, 0x7f80)).toEqual([1, -3.140625, Number.POSITIVE_INFINITY]);
  });
});
