import { batchOf } from '../analysis/evaluate-at-sizes.js';
import { USE_ANOTHER_EXPORT } from '../decoder.js';
import type { GraphBuilder } from '../onnx/builder.js';
import type { Node } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from './attention-layer.js';
import type { LayerCache } from './parts/caches.js';
import { type ConcatenatedCache, castRows } from './parts/concatenated-cache.js';
import { sizesOf } from './parts/head-dim.js';
import { maskWindow } from './parts/mask-window.js';
import { type MatrixProduct, matrixProduct } from './parts/matrix-product.js';
import { refusal } from './parts/own-cache.js';
import { type HeadLayout, type RepeatedHeads, repeatedHeads } from './parts/repeated-heads.js';
import { scoreChain } from './parts/score-chain.js';
import { splitAllHeads } from './parts/split-heads.js';

/** A product with a layer's keys or values, and how the cache reaches it. */
interface CacheProduct extends MatrixProduct, RepeatedHeads {
  node: Node;
  /** What it multiplies with the cache. */
  first: string;
  /** Whether the heads of all rows lie beside each other, [B * heads, ..]. */
  allHeads: boolean;
}

/**
 * Takes apart a layer that attends in ONNX's own operators, as torch.onnx writes eager and scaled-dot-product attention:
 * a product of queries and keys, a scale and a mask, a softmax, a product with the values. Its heads may be those of each row or of
 * all rows beside each other, and its products those that ONNX Runtime's optimiser fuses.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function decomposedAttention(
  index: GraphIndex,
  cache: LayerCache,
  key: ConcatenatedCache,
  value: ConcatenatedCache,
): AttentionLayer {
  const { kvHeads, headDim } = cache.key;
  if (!kvHeads || !headDim) throw refused(key.reader, `"${cache.key.past}" does not declare its heads`);
  const shape = { kvHeads, headDim };
  const scores = cacheProduct(index, cache, key, shape, 'headDim, T');
  const product = cacheProduct(index, cache, value, shape, 'T, headDim');
  if (scores.repeats !== product.repeats || product.factor !== 1 || product.turned[0]) {
    throw refused(product.node, 'its values are not repeated as the keys are');
  }
  const caches = { ...shape, whole: [key.whole, value.whole] };
  const queryHeads = queryHeadsOf(index, scores, caches);
  const rows = scores.allHeads ? [batchOf(index) * queryHeads] : [batchOf(index), queryHeads];
  const chain = scoreChain(index, product.first, { node: scores.node, rows }, caches);
  if (typeof chain === 'string') throw refused(product.node, chain);
  const visible = maskWindow(index, chain.softmax, chain.masks, caches, { causal: false });
  return {
    index: cache.index,
    queryHeads,
    ...shape,
    ...visible,
    description: {
      pattern: 'MatMul, Softmax, MatMul',
      node: product.node.name,
      packed: false,
      rope: 'outside',
    },
    scale: chain.scale * scores.factor,
    softcap: chain.softcap,
    elemType: value.readType,
    replaces: [product.node],
    output: product.node.output[0] ?? '',
    outputLayout: product.allHeads ? 'all-heads' : 'heads',
    rows: (builder) => {
      const query = queries(builder, scores, cache.index, queryHeads);
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

function refused(node: Node, reason: string) {
  return refusal(node, `${reason}; ${USE_ANOTHER_EXPORT}`);
}

/** @param order the order in which a plain product takes the last two dimensions of this half of the cache */
function cacheProduct(
  index: GraphIndex,
  cache: LayerCache,
  { whole, reader: node, input }: ConcatenatedCache,
  shape: { kvHeads: number; headDim: number },
  order: 'headDim, T' | 'T, headDim',
): CacheProduct {
  const product = input === 1 ? matrixProduct(node) : undefined;
  if (!product)
    throw refused(node, `it attends with the cache of layer ${cache.index} in a way that is not supported`);
  const taken = product.turned[1] ? order.split(', ').reverse().join(', ') : order;
  const layouts = [`[B, heads, ${taken}]`, `[B * heads, ${taken}]`] as HeadLayout[];
  const [first = '', second = ''] = node.input;
  const heads = repeatedHeads(index, whole, second, layouts, shape);
  if (typeof heads === 'string') throw refused(node, heads);
  const allHeads = heads.layout === layouts[1];
  return { ...product, ...heads, factor: product.factor * heads.factor, node, first, allHeads };
}

/** How many heads the queries have: as many as the repeated key heads, or any number where one key head serves them all. */
function queryHeadsOf(
  index: GraphIndex,
  { node, first, repeats, allHeads }: CacheProduct,
  caches: { kvHeads: number; headDim: number; whole: readonly string[] },
): number {
  const keyHeads = caches.kvHeads * repeats;
  const dims = sizesOf(index, first, caches);
  if (!dims) return keyHeads;
  const heads = allHeads ? dims[0]! / batchOf(index) : dims.at(-3)!;
  if (dims.length === (allHeads ? 3 : 4) && (heads === keyHeads || (keyHeads === 1 && !allHeads)))
    return heads;
  throw refused(
    node,
    `its queries, [${dims.join(', ')}] for one token, do not fit its ${keyHeads} key heads`,
  );
}

/** The queries of a product as [B, heads, S, headDim]. */
function queries(
  builder: GraphBuilder,
  { first, turned, allHeads }: CacheProduct,
  layer: number,
  heads: number,
): string {
  const rank = allHeads ? [0] : [0, 1];
  const perm = [...rank, rank.length + 1, rank.length];
  const query = turned[0] ? builder.op('Transpose', [first], { attributes: { perm } }) : first;
  return allHeads ? splitAllHeads(builder, query, layer, heads) : query;
}
