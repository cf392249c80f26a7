import { type CacheShapes, sharedEvaluatorAtSizes } from '../../analysis/evaluate-at-sizes.js';
import { intAttribute } from '../../onnx/attributes.js';
import type { Node } from '../../onnx/onnx.js';
import { beforeCasts, type GraphIndex } from '../../onnx/queries.js';
import { dimsOf } from '../../onnx/tensors.js';

/** Products with weights [.., width]. */
const PROJECTIONS = /^(MatMul|MatMulInteger|MatMulIntegerToFloat|DynamicQuantizeMatMul|FusedMatMul)$/;

/** Nodes that leave the last dimension of their first input as it is. */
const KEEPS_WIDTH = new Set(['Add', 'Cast', 'Identity', 'Mul', 'RotaryEmbedding']);

/** At which inputs an operator takes its queries, keys and values. */
const QUERY = 0;
const KEY = 1;
const VALUE = 2;

/**
 * headDim of an attention node whose cache declares none: the width of what it takes as packed rows, or as values, keys or
 * queries, divided by the heads it holds. Undefined when no weight tells.
 */
export function headDimOf(
  index: GraphIndex,
  node: Node,
  { queryHeads, kvHeads, packed }: { queryHeads: number; kvHeads: number; packed: boolean },
): number | undefined {
  const held: [input: number, heads: number][] = packed
    ? [[QUERY, queryHeads + 2 * kvHeads]]
    : [
        [VALUE, kvHeads],
        [KEY, kvHeads],
        [QUERY, queryHeads],
      ];
  for (const [input, heads] of held) {
    const width = widthOf(index, node.input[input] ?? '');
    if (width !== undefined) return width % heads === 0 ? width / heads : undefined;
  }
  return undefined;
}

/** The dimensions of a value for one token after three, undefined when the nodes that make it do not tell. */
export function sizesOf(index: GraphIndex, name: string, caches: CacheShapes): readonly number[] | undefined {
  try {
    return sharedEvaluatorAtSizes(index, caches, { past: 3, tokens: 1, padded: 0 }).dims(name);
  } catch {
    return undefined;
  }
}

/** The last dimension of rows [B, S, width], as the projection they come from, or what cut or reshaped them after it, tells. */
function widthOf(index: GraphIndex, name: string): number | undefined {
  const node = index.producer(name);
  if (!node) return undefined;
  const { opType, input } = node;
  if (opType === 'MatMulNBits') return intAttribute(node, 'N', 0) || undefined;
  if (PROJECTIONS.test(opType)) {
    const weight = index.constant(beforeCasts(index, input[1] ?? ''));
    return weight && dimsOf(weight).at(intAttribute(node, 'transB', 0) === 1 ? -2 : -1);
  }
  if (opType === 'Split') return partWidth(index, node, name);
  if (opType === 'Reshape') {
    const width = index.constantNumbers(input[1] ?? '')?.at(-1);
    return width !== undefined && width > 0 ? width : undefined;
  }
  return KEEPS_WIDTH.has(opType) ? widthOf(index, input[0] ?? '') : undefined;
}

/** The width of one part of a Split over the last dimension: what the sizes say, or an equal part. */
function partWidth(index: GraphIndex, node: Node, name: string): number | undefined {
  const axis = intAttribute(node, 'axis', 0);
  if (axis !== -1 && axis !== 2) return undefined;
  const [whole = '', sizes] = node.input;
  if (sizes) return index.constantNumbers(sizes)?.[node.output.indexOf(name)];
  const width = widthOf(index, whole);
  const parts = node.output.length;
  return width !== undefined && width % parts === 0 ? width / parts : undefined;
}
