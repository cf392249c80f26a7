import { floatAttribute, intAttribute } from '../../onnx/attributes.js';
import { MICROSOFT, type Node } from '../../onnx/onnx.js';

/** A product of matrices, [.., M, K] by [.., K, N], whichever operator makes it. */
export interface MatrixProduct {
  /** What every element of the product is multiplied by. */
  factor: number;
  /** Whether the first comes as [.., K, M] or the second as [.., N, K]. */
  turned: [first: boolean, second: boolean];
}

const ATTRIBUTES = new Set(['alpha', 'transA', 'transB', 'transBatchA', 'transBatchB']);

/**
 * What MatMul and com.microsoft.FusedMatMul make, which ONNX Runtime's optimiser writes for a MatMul with a scale or with a
 * Transpose before it. Undefined for other nodes, and where batches are turned as well.
 */
export function matrixProduct(node: Node): MatrixProduct | undefined {
  if (node.opType === 'MatMul' && node.domain === '') return { factor: 1, turned: [false, false] };
  if (node.opType !== 'FusedMatMul' || node.domain !== MICROSOFT) return undefined;
  const on = (name: string) => intAttribute(node, name, 0) !== 0;
  if (on('transBatchA') || on('transBatchB') || node.attribute.some(({ name }) => !ATTRIBUTES.has(name)))
    return undefined;
  return { factor: floatAttribute(node, 'alpha', 1), turned: [on('transA'), on('transB')] };
}
