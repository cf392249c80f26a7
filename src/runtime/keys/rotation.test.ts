import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type KeyRotation, KeyTurn } from '../../memory/turns/rotation.js';
import { measureKeyRotations } from './rotation.js';

const HEAD_DIM = 16;

/** The keys of two heads under a rotation, in float32 as a model gives them. */
function rotated(rotation: KeyRotation, token: Float32Array) {
  return async (position: number) => {
    const turn = new KeyTurn(rotation, position);
    const heads = [0, HEAD_DIM].flatMap((head) => [...turn.turned(token.subarray(head, head + HEAD_DIM))]);
    return [Float32Array.from(heads)];
  };
}

const tokens = fc
  .array(fc.double({ min: 0.1, max: 4, noNaN: true }), { minLength: 2 * HEAD_DIM, maxLength: 2 * HEAD_DIM })
  .map((numbers) => Float32Array.from(numbers, (number, i) => (i % 3 ? number : -number)));

describe('measureKeyRotations', () => {
  it('finds whole and partial rotations of either layout', () =>
    fc.assert(
      fc.asyncProperty(
        tokens,
        fc.constantFrom(4, 8, 16),
        fc.boolean(),
        fc.constantFrom(100, 10_000, 1_000_000),
        async (token, width, interleaved, theta) => {
          const frequencies = Float64Array.from(
            { length: width / 2 },
            (_, pair) => theta ** ((-2 * pair) / width),
          );
          const keysAt = rotated({ frequencies, interleaved }, token);
          const [found] = await measureKeyRotations(keysAt, HEAD_DIM);
          for (const positions of [-300, -1, 2, 250]) {
            const [expected] = await keysAt(positions);
            const turn = new KeyTurn(found!, positions);
            turn.turned(token.subarray(0, HEAD_DIM)).forEach((value, i) => {
              expect(value).toBeCloseTo(expected![i]!, 3);
            });
          }
        },
      ),
      { numRuns: 30 },
    ));

  it('finds that nothing turns where positions do nothing', async () => {
    const token = Float32Array.from({ length: 2 * HEAD_DIM }, (_, i) => Math.sin(i));
    const [found] = await measureKeyRotations(async () => [token], HEAD_DIM);
    expect([...found!.frequencies]).toEqual(new Array(HEAD_DIM / 2).fill(0));
  });

  it('refuses keys that change with their position in another way', async () => {
    const keysAt = async (position: number) => [
      Float32Array.from({ length: HEAD_DIM }, (_, i) => Math.sin(i) + position * i),
    ];
    await expect(measureKeyRotations(keysAt, HEAD_DIM)).rejects.toThrow(
      expect.objectContaining({ code: 'unsupported-model' }),
    );
  });
});
