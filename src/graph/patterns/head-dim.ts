import { type CacheShapes, sharedEvaluator } from '../analysis/evaluate-at-sizes.js';
import { intAttribute } from '../onnx/attributes.js';
import type { Node } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import { dimsOf } from '../onnx/tensors.js';

/** Nodes that leave the last dimension of their first input as it is. */
const KEEPS_WIDTH = new Set(['Add', 'Cast', 'Identity', 'Mul', 'RotaryEmbedding']);

/**
 * headDim of an attention node whose cache declares none: the width of the projection that makes its values, or of the
 * one that makes the packed rows, divided by the heads it holds. Undefined when no weight tells.
 */
export function headDimOf(
  index: GraphIndex,
  node: Node,
  heads: { queryHeads: number; kvHeads: number; packed: boolean },
): number | undefined {
  const held = heads.packed ? heads.queryHeads + 2 * heads.kvHeads : heads.kvHeads;
  const width = projectionWidth(index, node.input[heads.packed ? 0 : 2] ?? '');
  return width !== undefined && width % held === 0 ? width / held : undefined;
}

/** The dimensions of a value for one token after three, undefined when the nodes that make it do not tell. */
export function sizesOf(index: GraphIndex, name: string, caches: CacheShapes): readonly number[] | undefined {
  try {
    return sharedEvaluator(index, caches, { past: 3, tokens: 1, padded: 0 }).dims(name);
  } catch {
    return undefined;
  }
}

function projectionWidth(index: GraphIndex, name: string): number | undefined {
  for (let node = index.producer(name); node; node = index.producer(node.input[0] ?? '')) {
    if (node.opType === 'MatMulNBits') return intAttribute(node, 'N', 0) || undefined;
    const weight = index.constant(node.input[1] ?? '');
    if (/^(MatMul|MatMulInteger|MatMulIntegerToFloat|DynamicQuantizeMatMul|FusedMatMul)$/.test(node.opType)) {
      return weight && dimsOf(weight).at(-1);
    }
    if (!KEEPS_WIDTH.has(node.opType)) return undefined;
  }
  return undefined;
}
