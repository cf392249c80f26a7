import type { Mask } from '../analysis/causal-mask.js';
import type { CacheShapes } from '../analysis/evaluate-at-sizes.js';
import { USE_ANOTHER_EXPORT } from '../decoder.js';
import { attributeOf, floatAttribute, intAttribute } from '../onnx/attributes.js';
import type { GraphBuilder } from '../onnx/builder.js';
import type { Node } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from './attention-layer.js';
import type { LayerCache } from './parts/caches.js';
import { type ConcatenatedCache, castRows, readerOf } from './parts/concatenated-cache.js';
import { sizesOf } from './parts/head-dim.js';
import { maskWindow } from './parts/mask-window.js';
import { checkOwnCache, refusal, WITHOUT_IT } from './parts/own-cache.js';
import { repeatedHeads } from './parts/repeated-heads.js';
import { splitHeads } from './parts/split-heads.js';

/** Positions of the inputs of ONNX's Attention, operator sets 23 and 24. */
const INPUT = { query: 0, key: 1, value: 2, mask: 3, pastKey: 4, pastValue: 5, lengths: 6 } as const;

const ATTRIBUTES = new Set([
  'is_causal',
  'kv_num_heads',
  'q_num_heads',
  'qk_matmul_output_mode',
  'scale',
  'softcap',
  'softmax_precision',
]);

/**
 * Takes apart a layer that attends with ONNX's own Attention and leaves the cache to it (`past_key`, `present_key`), over
 * rows [B, S, heads * headDim] or [B, heads, S, headDim].
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function onnxAttention(index: GraphIndex, cache: LayerCache): AttentionLayer {
  const node = checkOwnCache(index, cache, INPUT);
  const whole = [node.output[1] ?? '', node.output[2] ?? ''];
  const { kvHeads, headDim } = declaredHeads(node, cache);
  const layer = attending(index, node, cache.index, { kvHeads, headDim, whole });
  const flat = intAttribute(node, 'q_num_heads', 0) > 0;
  const rows = (builder: GraphBuilder, at: number, heads: number) => {
    const name = node.input[at] ?? '';
    return flat ? splitHeads(builder, name, cache.index, heads, headDim) : name;
  };
  return {
    ...layer,
    elemType: cache.key.elemType,
    rows: (builder) => ({
      query: rows(builder, INPUT.query, layer.queryHeads),
      key: rows(builder, INPUT.key, kvHeads),
      value: rows(builder, INPUT.value, kvHeads),
    }),
  };
}

/**
 * Takes apart a layer that appends to its cache with Concat and attends over the result with ONNX's Attention, as
 * torch.onnx writes scaled-dot-product attention for operator set 23.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function concatenatedOnnxAttention(
  index: GraphIndex,
  cache: LayerCache,
  key: ConcatenatedCache,
  value: ConcatenatedCache,
): AttentionLayer {
  const node = readerOf(key, value, INPUT);
  if (node.input[INPUT.pastKey] || intAttribute(node, 'q_num_heads', 0) > 0) {
    throw refusal(
      node,
      `it takes a cache that was appended to before in another layout; ${USE_ANOTHER_EXPORT}`,
    );
  }
  const { kvHeads, headDim } = declaredHeads(node, cache);
  const repeats = [key, value].map((half) => {
    const found = repeatedHeads(index, half.whole, node.input[half.input] ?? '', ['[B, heads, T, headDim]'], {
      kvHeads,
      headDim,
    });
    if (typeof found === 'string') throw refusal(node, `${found}; ${USE_ANOTHER_EXPORT}`);
    return found;
  });
  if (repeats.some(({ factor }) => factor !== 1) || repeats[0]!.repeats !== repeats[1]!.repeats) {
    throw refusal(node, `its keys and values are not repeated in the same way; ${USE_ANOTHER_EXPORT}`);
  }
  return {
    ...attending(
      index,
      node,
      cache.index,
      { kvHeads, headDim, whole: [key.whole, value.whole] },
      repeats[0]!.repeats,
    ),
    elemType: value.readType,
    rows: (builder) => ({
      query: node.input[INPUT.query] ?? '',
      key: castRows(builder, key, value.readType),
      value: castRows(builder, value, value.readType),
    }),
  };
}

function declaredHeads(node: Node, { key }: LayerCache): { kvHeads: number; headDim: number } {
  const kvHeads = intAttribute(node, 'kv_num_heads', 0) || key.kvHeads;
  if (!kvHeads || !key.headDim) {
    throw refusal(node, `"${key.past}" does not declare its heads; ${USE_ANOTHER_EXPORT}`);
  }
  return { kvHeads, headDim: key.headDim };
}

/** What both forms share. `known` is how often each key head is repeated for the operator, undefined when it does that itself. */
function attending(index: GraphIndex, node: Node, layer: number, caches: CacheShapes, known?: number) {
  const { kvHeads, headDim } = caches;
  refuseVariants(node);
  const queryHeads =
    intAttribute(node, 'q_num_heads', 0) ||
    (known && known > 1 ? known * kvHeads : sizesOf(index, node.input[INPUT.query] ?? '', caches)?.[1]);
  if (!queryHeads || queryHeads % kvHeads !== 0) {
    throw refusal(node, `the number of its query heads cannot be read from the graph; ${USE_ANOTHER_EXPORT}`);
  }
  const mask = node.input[INPUT.mask];
  const causal = intAttribute(node, 'is_causal', 0) === 1;
  const masks: Mask[] = mask ? [{ value: mask, use: 'added-or-keeps' }] : [];
  return {
    ...maskWindow(index, node, masks, caches, { causal }),
    index: layer,
    queryHeads,
    kvHeads,
    headDim,
    description: { pattern: 'Attention', node: node.name, packed: false, rope: 'outside' as const },
    scale: attributeOf(node, 'scale') ? floatAttribute(node, 'scale', 0) : 1 / Math.sqrt(headDim),
    softcap: floatAttribute(node, 'softcap', 0),
    replaces: [node],
    output: node.output[0] ?? '',
    outputLayout: intAttribute(node, 'q_num_heads', 0) > 0 ? ('rows' as const) : ('heads' as const),
  };
}

function refuseVariants(node: Node): void {
  if (node.input[INPUT.lengths])
    throw refusal(node, `it takes lengths of its rows ("${node.input[INPUT.lengths]}"); ${WITHOUT_IT}`);
  if (node.input.slice(7).some(Boolean))
    throw refusal(node, `it has ${node.input.length} inputs, and only 7 are known; ${WITHOUT_IT}`);
  if (node.output[3]) throw refusal(node, `it also gives its scores ("${node.output[3]}"); ${WITHOUT_IT}`);
  const unknown = node.attribute.find(({ name }) => !ATTRIBUTES.has(name));
  if (unknown) throw refusal(node, `its attribute "${unknown.name}" is not known; ${WITHOUT_IT}`);
}
