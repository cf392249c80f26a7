import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ElasticCacheError } from '../../errors.js';
import { decodeTensors, encodeTensors, type StoredArray } from './safetensors.js';

const text = '{"a":[1,2]}';
const tensors = new Map<string, StoredArray>([
  ['keys', Float32Array.of(1, 2, 3)],
  ['bias', Int8Array.of(-1, 0, 7)],
]);
const bytes = encodeTensors({ text, tensors });

const codeOf = (of: Uint8Array) => {
  try {
    decodeTensors(of);
  } catch (cause) {
    return cause instanceof ElasticCacheError ? cause.code : cause;
  }
  return 'read';
};

describe('a saved file', () => {
  it('is read as it was written, wherever it begins in its buffer', () => {
    const within = new Uint8Array(bytes.length + 1);
    within.set(bytes, 1);
    expect(decodeTensors(within.subarray(1))).toEqual({ text, tensors: new Map(tensors) });
  });

  it('is refused with any of its bytes changed, or cut anywhere', () => {
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = bytes.slice();
        changed[at]! ^= by;
        expect(codeOf(changed)).toBe('invalid-data');
        expect(codeOf(bytes.subarray(0, at))).toBe('invalid-data');
      }),
      { numRuns: 500 },
    );
  });

  it.each(['null', '{}', '[]', '{"__metadata__":{}}'])('is refused with the header %s', (header) => {
    const json = new TextEncoder().encode(header);
    const file = new Uint8Array(8 + json.length);
    new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
    file.set(json, 8);
    expect(codeOf(file)).toBe('invalid-data');
  });
});
