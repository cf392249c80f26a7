import { USE_ANOTHER_EXPORT } from '../decoder.js';
import type { Node } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from './attention-layer.js';
import type { LayerCache } from './parts/caches.js';
import { type ConcatenatedCache, castRows } from './parts/concatenated-cache.js';
import { maskWindow } from './parts/mask-window.js';
import { refusal } from './parts/own-cache.js';
import { repeatedHeads } from './parts/repeated-heads.js';
import { scoreChain } from './parts/score-chain.js';

/**
 * Takes apart a layer that attends in ONNX's own operators, as torch.onnx writes eager and scaled-dot-product attention:
 * a product of queries and keys, a scale and a mask, a softmax, a product with the values.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function decomposedAttention(
  index: GraphIndex,
  cache: LayerCache,
  key: ConcatenatedCache,
  value: ConcatenatedCache,
): AttentionLayer {
  const product = value.reader;
  const refused = (node: Node, reason: string) => refusal(node, `${reason}; ${USE_ANOTHER_EXPORT}`);
  const scores = key.reader;
  for (const [node, half] of [[scores, key] as const, [product, value] as const]) {
    if (node.opType !== 'MatMul' || node.domain !== '' || half.input !== 1) {
      throw refused(node, `it attends with the cache of layer ${cache.index} in a way that is not supported`);
    }
  }
  const { kvHeads, headDim } = cache.key;
  if (!kvHeads || !headDim) throw refused(scores, `"${cache.key.past}" does not declare its heads`);
  const shape = { kvHeads, headDim };

  const keys = repeatedHeads(index, key.whole, scores.input[1] ?? '', '[B, heads, headDim, T]', shape);
  if (typeof keys === 'string') throw refused(scores, keys);
  const values = repeatedHeads(index, value.whole, product.input[1] ?? '', '[B, heads, T, headDim]', shape);
  if (typeof values === 'string') throw refused(product, values);
  if (keys.repeats !== values.repeats || values.factor !== 1) {
    throw refused(product, 'its values are not repeated as the keys are');
  }

  const chain = scoreChain(index, product.input[0] ?? '', scores);
  if (typeof chain === 'string') throw refused(product, chain);
  const whole = [key.whole, value.whole];
  const window = maskWindow(index, chain.softmax, chain.masks, { ...shape, whole }, { causal: false });
  return {
    index: cache.index,
    queryHeads: kvHeads * keys.repeats,
    ...shape,
    window,
    description: {
      pattern: 'MatMul, Softmax, MatMul',
      node: product.name,
      packed: false,
      rope: 'outside',
    },
    scale: chain.scale * keys.factor,
    softcap: chain.softcap,
    elemType: value.readType,
    replaces: [product],
    output: product.output[0] ?? '',
    outputLayout: 'heads',
    rows: (builder) => {
      const query = scores.input[0] ?? '';
      return {
        query:
          key.readType === value.readType
            ? query
            : builder.op('Cast', [query], { attributes: { to: value.readType } }),
        key: castRows(builder, key, value.readType),
        value: castRows(builder, value, value.readType),
      };
    },
  };
}
