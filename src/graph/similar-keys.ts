import { GraphBuilder } from './onnx/builder.js';
import { DataType, MICROSOFT, type Model } from './onnx/onnx.js';

/** Names of its tensors. */
export const similarKeys = { own: 'own', anchors: 'anchors', found: 'found' } as const;

/**
 * A graph that finds for each key the most similar of some others, for several questions of one size: `own` [questions, heads, n, headDim] and `anchors` [questions, heads, anchors,
 * headDim] give `found`, int32 [questions, n]: the first with the largest cosine, summed over the heads.
 */
export function similarKeysModel(): Model {
  const builder = GraphBuilder.create('similar-keys', { '': 17, [MICROSOFT]: 1 });
  const direction = (name: string, count: string) =>
    builder.op(
      'LpNormalization',
      [builder.input(name, DataType.FLOAT, ['questions', 'heads', count, 'head_dim'])],
      {
        attributes: { axis: -1, p: 2 },
      },
    );
  const cosines = builder.op(
    'FusedMatMul',
    [direction(similarKeys.own, 'keys'), direction(similarKeys.anchors, 'anchors')],
    { domain: MICROSOFT, attributes: { transB: 1 } },
  );
  const summed = builder.op('ReduceSum', [cosines, builder.int64('heads_axis', [1], [1])], {
    attributes: { keepdims: 0 },
  });
  const found = builder.op('ArgMax', [summed], { attributes: { axis: 2, keepdims: 0 } });
  builder.op('Cast', [found], { attributes: { to: DataType.INT32 }, outputs: [similarKeys.found] });
  builder.output(similarKeys.found, DataType.INT32, ['questions', 'keys']);
  return builder.model;
}
