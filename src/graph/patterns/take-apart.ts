import { USE_ANOTHER_EXPORT, unsupported } from '../decoder.js';
import { MICROSOFT } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from './attention-layer.js';
import { decomposedAttention } from './decomposed.js';
import { groupQueryAttention } from './group-query-attention.js';
import { multiHeadAttention, repeatedMultiHeadAttention } from './multi-head-attention.js';
import { concatenatedOnnxAttention, onnxAttention } from './onnx-attention.js';
import type { LayerCache } from './parts/caches.js';
import { concatenatedCache } from './parts/concatenated-cache.js';

/**
 * Takes a layer's attention apart, whichever pattern it is: the node that reads the cache decides.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function takeApart(index: GraphIndex, cache: LayerCache): AttentionLayer {
  const { past, consumer } = cache.key;
  const { opType, domain } = consumer.node;
  if (opType === 'GroupQueryAttention' && domain === MICROSOFT) return groupQueryAttention(index, cache);
  if (opType === 'MultiHeadAttention' && domain === MICROSOFT) return multiHeadAttention(index, cache);
  if (opType === 'Attention' && domain === '') return onnxAttention(index, cache);
  if (opType === 'Concat') {
    const { key, value } = concatenatedCache(index, cache);
    const { reader } = value;
    if (reader.opType === 'MultiHeadAttention' && reader.domain === MICROSOFT)
      return repeatedMultiHeadAttention(index, cache, key, value);
    if (reader.opType === 'Attention' && reader.domain === '')
      return concatenatedOnnxAttention(index, cache, key, value);
    return decomposedAttention(index, cache, key, value);
  }
  throw unsupported(
    `Node "${consumer.node.name}" (${opType}) attends with "${past}" in a way that is not supported, the operators that are supported are listed in docs/patterns.md: ${USE_ANOTHER_EXPORT}.`,
  );
}
