import { describe, expect, it } from 'vitest';
import { Tensor } from '#platform/ort.js';
import { causalBias, concatSequence, sliceSequence } from '../../src/runtime/tensors.js';

const range = (count: number) => Float32Array.from({ length: count }, (_, i) => i);

describe('sliceSequence', () => {
  it('shares memory where the slice is one piece', () => {
    const tensor = new Tensor('float32', range(12), [1, 4, 3]);
    const part = sliceSequence(tensor, 1, 1, 3);
    expect(part.dims).toEqual([1, 2, 3]);
    expect([...(part.data as Float32Array)]).toEqual([3, 4, 5, 6, 7, 8]);
    expect((part.data as Float32Array).buffer).toBe((tensor.data as Float32Array).buffer);
  });

  it('takes the same positions of every row of a batch', () => {
    const part = sliceSequence(new Tensor('float32', range(12), [2, 3, 2]), 1, 1, 3);
    expect(part.dims).toEqual([2, 2, 2]);
    expect([...(part.data as Float32Array)]).toEqual([2, 3, 4, 5, 8, 9, 10, 11]);
  });

  it('slices positions of three axes', () => {
    const ids = new Tensor(
      'int64',
      BigInt64Array.from({ length: 9 }, (_, i) => BigInt(i)),
      [3, 1, 3],
    );
    const part = sliceSequence(ids, 2, 2, 3);
    expect(part.dims).toEqual([3, 1, 1]);
    expect([...(part.data as BigInt64Array)]).toEqual([2n, 5n, 8n]);
  });
});

describe('concatSequence', () => {
  it('keeps half precision', () => {
    const tensor = new Tensor('float16', Uint16Array.of(15360, 16384, 16896), [1, 3, 1]);
    const whole = concatSequence([0, 1, 2].map((at) => sliceSequence(tensor, 1, at, at + 1)));
    expect(whole.type).toBe('float16');
    expect(whole.data).toEqual(tensor.data);
  });

  it('undoes slicing, for a batch too', () => {
    const tensor = new Tensor('float32', range(24), [2, 4, 3]);
    const parts = [0, 1, 3].map((start, i) => sliceSequence(tensor, 1, start, [1, 3, 4][i]!));
    const whole = concatSequence(parts);
    expect(whole.dims).toEqual([2, 4, 3]);
    expect(whole.data).toEqual(tensor.data);
  });
});

describe('causalBias', () => {
  it('hides what comes later, in every row of the batch', () => {
    const x = Number.NEGATIVE_INFINITY;
    const one = [0, x, x, 0, 0, x, 0, 0, 0];
    const mask = causalBias(2, 3);
    expect(mask.dims).toEqual([2, 1, 3, 3]);
    expect([...(mask.data as Float32Array)]).toEqual([...one, ...one]);
  });
});
