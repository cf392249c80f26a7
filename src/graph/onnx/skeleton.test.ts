import { describe, expect, it } from 'vitest';
import { buildGqaDecoder } from '../../../test/graph/gqa-decoder.js';
import { subgraphsOf } from './attributes.js';
import { GraphBuilder } from './builder.js';
import { type ByteSource, bytesSource } from './byte-source.js';
import { createGraph, DataType, type Graph, graphOf, parseModel, serializeModel } from './onnx.js';
import { INLINE_BYTES, readSkeleton } from './skeleton.js';
import { externalDataOf, externalTensor, float32Tensor } from './tensors.js';

describe('readSkeleton', () => {
  it('names the place of every large tensor and keeps the small ones', async () => {
    const bytes = serializeModel(buildGqaDecoder());
    const model = parseModel(bytes);
    const skeleton = await readSkeleton(bytesSource(bytes), 'decoder.onnx');
    expect(serializeModel(skeleton).length).toBeLessThan(bytes.length / 5);
    graphOf(model).initializer.forEach((original, i) => {
      const tensor = graphOf(skeleton).initializer[i]!;
      expect(tensor.name).toBe(original.name);
      const data = externalDataOf(tensor);
      expect(data === undefined).toBe(original.rawData.length <= INLINE_BYTES);
      expect(data?.location ?? 'decoder.onnx').toBe('decoder.onnx');
      const place = data && bytes.subarray(data.offset, data.offset + data.length);
      expect(place ?? tensor.rawData).toEqual(original.rawData);
    });
    expect(graphOf(skeleton).node).toEqual(graphOf(model).node);
  });

  it('reads little of a large file', async () => {
    const bytes = serializeModel(buildGqaDecoder({ vocab: 40_000 }));
    let read = 0;
    const source: ByteSource = {
      size: bytes.length,
      read: (offset, length) => {
        read += length;
        return bytes.slice(offset, offset + length);
      },
    };
    await readSkeleton(source, 'decoder.onnx');
    expect(read).toBeLessThan(bytes.length / 5);
  });

  it('finds large tensors inside branches and leaves external ones alone', async () => {
    const builder = GraphBuilder.create('outer', { '': 21 });
    const place = { location: 'weights.bin', offset: 4096, length: 8000 };
    builder.external('outside', DataType.FLOAT, [2000], place);
    const branch: Graph = createGraph({ name: 'branch' });
    branch.initializer.push(float32Tensor('inside', [500], new Float32Array(500).fill(3)));
    builder.op('If', ['condition'], {
      attributes: { then_branch: { graph: branch }, else_branch: { graph: branch } },
    });
    const bytes = serializeModel(builder.model);
    const skeleton = graphOf(await readSkeleton(bytesSource(bytes), 'model.onnx'));
    expect(skeleton.initializer).toEqual([externalTensor('outside', DataType.FLOAT, [2000], place)]);
    for (const inner of subgraphsOf(skeleton.node[0]!)) {
      const data = externalDataOf(inner.initializer[0]!)!;
      expect(new Float32Array(bytes.slice(data.offset, data.offset + data.length).buffer)).toEqual(
        new Float32Array(500).fill(3),
      );
    }
  });

  it('keeps tables of booleans and positions, which are no weights', async () => {
    const builder = GraphBuilder.create('outer', { '': 21 });
    builder.raw('table', DataType.BOOL, [300, 300], new Uint8Array(90_000).fill(1));
    builder.int64('positions', [2048, 1], new Float64Array(2048).fill(7));
    builder.raw('bytes', DataType.UINT8, [300, 300], new Uint8Array(90_000).fill(1));
    const bytes = serializeModel(builder.model);
    const [table, positions, other] = graphOf(
      await readSkeleton(bytesSource(bytes), 'model.onnx'),
    ).initializer;
    expect(table!.rawData).toEqual(new Uint8Array(90_000).fill(1));
    expect(positions!.rawData.length).toBe(2048 * 8);
    expect(externalDataOf(other!)).toMatchObject({ location: 'model.onnx', length: 90_000 });
  });

  it('says where a truncated file is damaged', async () => {
    const bytes = serializeModel(buildGqaDecoder());
    for (const length of [1, 40, 5000, bytes.length - 1]) {
      await expect(readSkeleton(bytesSource(bytes.slice(0, length)), 'decoder.onnx')).rejects.toThrow(
        /damaged at byte \d+: .*; download or export it again\./,
      );
    }
  });
});
