import type { ElasticCacheError } from '../../../errors.js';
import { USE_ANOTHER_EXPORT, unsupported } from '../../decoder.js';
import type { Node } from '../../onnx/onnx.js';
import type { GraphIndex } from '../../onnx/queries.js';
import { type LayerCache, presentSource } from './caches.js';

/**
 * The node that keeps a layer's cache itself: it takes both halves as its past, at these inputs, and gives both as its
 * present, outputs 1 and 2.
 * @throws ElasticCacheError 'unsupported-graph' when it does something else with them.
 */
export function checkOwnCache(
  index: GraphIndex,
  { key, value }: LayerCache,
  inputs: { pastKey: number; pastValue: number },
): Node {
  const { node, input } = key.consumer;
  if (input !== inputs.pastKey || value.consumer.node !== node || value.consumer.input !== inputs.pastValue) {
    throw refusal(
      node,
      `it takes "${key.past}" and "${value.past}" otherwise than as its past keys and values, which is not supported; ${USE_ANOTHER_EXPORT}`,
    );
  }
  for (const [part, output] of [[key, 1] as const, [value, 2] as const]) {
    const source = presentSource(index, part.present);
    if (source?.node === node && source.output === output) continue;
    throw refusal(
      node,
      `the output "${part.present}" is not what it made of "${part.past}"; ${USE_ANOTHER_EXPORT}`,
    );
  }
  return node;
}

/** Why a node cannot be rewritten; the reason ends with a way out. */
export function refusal(node: Node, reason: string): ElasticCacheError {
  return unsupported(`Node "${node.name}" (${node.opType}) cannot be rewritten: ${reason}.`);
}

/** The way out where a model, not an export, is not supported. */
export const WITHOUT_IT = 'choose a model or an export without it';
