import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildGqaDecoder } from '../../../test/graph/gqa-decoder.js';
import { ElasticCacheError } from '../../errors.js';
import { rewriteDecoder } from '../rewrite.js';
import { bytesSource } from './byte-source.js';
import { StringStringEntryProtoSchema } from './onnx.gen.js';
import { graphOf, parseModel, serializeModel } from './onnx.js';
import { readSkeleton } from './skeleton.js';

const bytes = serializeModel(buildGqaDecoder({ rope: 'inside', packed: true, positionIds: false }));

describe('parseModel', () => {
  it('reads what serializeModel writes', () => {
    expect(serializeModel(parseModel(bytes))).toEqual(bytes);
  });

  it('keeps fields it does not know', () => {
    const model = parseModel(bytes);
    // Field 6 of a model and field 10 of a graph are doc strings, which our part of the format leaves out.
    const text = new TextEncoder().encode('doc');
    model.$unknown = [{ no: 6, wireType: 2, data: Uint8Array.of(3, ...text) }];
    graphOf(model).$unknown = [{ no: 10, wireType: 2, data: Uint8Array.of(3, ...text) }];
    const again = parseModel(serializeModel(model));
    expect(again.$unknown?.map(({ no, data }) => [no, [...data]])).toEqual([[6, [3, ...text]]]);
    expect(graphOf(again).$unknown?.map(({ no }) => no)).toEqual([10]);
  });

  it('refuses what is no model', () => {
    expect(() => parseModel(new Uint8Array(0))).toThrow(/hold no ONNX graph/);
    expect(() => parseModel(bytes.subarray(0, bytes.length - 7))).toThrow(/not a whole ONNX model/);
    const other = toBinary(StringStringEntryProtoSchema, create(StringStringEntryProtoSchema, { key: 'a' }));
    expect(() => parseModel(other)).toThrow(ElasticCacheError);
    expect(fromBinary(StringStringEntryProtoSchema, other).key).toBe('a');
  });
});

describe('damaged models', () => {
  const damaged = fc.oneof(
    fc.nat(bytes.length - 1).map((length) => bytes.slice(0, length)),
    fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(7)), { minLength: 1, maxLength: 20 }).map((flips) => {
      const copy = bytes.slice();
      for (const [at, bit] of flips) copy[at]! ^= 1 << bit;
      return copy;
    }),
    // The graph's structure lies at its start and end, weights fill the middle: flip where it hurts.
    fc.array(fc.tuple(fc.nat(4000), fc.nat(7)), { minLength: 1, maxLength: 6 }).map((flips) => {
      const copy = bytes.slice();
      for (const [at, bit] of flips) copy[at]! ^= 1 << bit;
      return copy;
    }),
    fc.uint8Array({ maxLength: 300 }),
  );

  it('are read or refused, and never anything else', async () => {
    await fc.assert(
      fc.asyncProperty(damaged, async (input) => {
        await refusedOrDone(async () => rewriteDecoder(parseModel(input)));
        await refusedOrDone(async () => rewriteDecoder(await readSkeleton(bytesSource(input), 'model.onnx')));
      }),
      { numRuns: 300 },
    );
  });
});

async function refusedOrDone(action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof ElasticCacheError)) throw error;
    expect(error.message.length).toBeGreaterThan(20);
  }
}
