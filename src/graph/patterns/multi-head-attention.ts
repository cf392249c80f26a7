import { HIDDEN, type Mask } from '../analysis/causal-mask.js';
import type { CacheShapes } from '../analysis/evaluate-at-sizes.js';
import { USE_ANOTHER_EXPORT } from '../decoder.js';
import { floatAttribute, intAttribute } from '../onnx/attributes.js';
import type { GraphBuilder } from '../onnx/builder.js';
import type { Node } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from './attention-layer.js';
import type { LayerCache } from './parts/caches.js';
import { type ConcatenatedCache, castRows, readerOf } from './parts/concatenated-cache.js';
import { headDimOf, sizesOf } from './parts/head-dim.js';
import { maskWindow } from './parts/mask-window.js';
import { checkOwnCache, refusal, WITHOUT_IT } from './parts/own-cache.js';
import { repeatedHeads } from './parts/repeated-heads.js';
import { splitHeads } from './parts/split-heads.js';

/** Positions of the inputs of com.microsoft.MultiHeadAttention. */
const INPUT = {
  query: 0,
  key: 1,
  value: 2,
  bias: 3,
  keyPadding: 4,
  mask: 5,
  pastKey: 6,
  pastValue: 7,
} as const;

/** Inputs that are not rewritten, and what they are. */
const REFUSED_INPUTS: Readonly<Record<number, string>> = {
  8: 'a length of its past',
  9: 'a cache indirection',
};

const ATTRIBUTES = new Set(['num_heads', 'scale', 'mask_filter_value', 'unidirectional']);

/**
 * Takes apart a layer that attends with com.microsoft.MultiHeadAttention over its past: one key head for each query head, a
 * bias of the projections, masks of its own or given ones.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function multiHeadAttention(index: GraphIndex, cache: LayerCache): AttentionLayer {
  const node = checkOwnCache(index, cache, INPUT);
  refuseVariants(node);
  const heads = intAttribute(node, 'num_heads', 0);
  const headDim =
    cache.key.headDim ?? headDimOf(index, node, { queryHeads: heads, kvHeads: heads, packed: false });
  if (!(heads > 0) || !headDim) {
    throw refusal(
      node,
      `the number or the size of its heads cannot be read from the graph; ${USE_ANOTHER_EXPORT}`,
    );
  }
  const whole = [node.output[1] ?? '', node.output[2] ?? ''];
  const caches = { kvHeads: heads, headDim, whole };
  const split = [INPUT.key, INPUT.value].map(
    (at) => sizesOf(index, node.input[at] ?? '', caches)?.length === 4,
  );
  const bias = node.input[INPUT.bias];
  if (bias && split.includes(true))
    throw refusal(node, `it adds a bias ("${bias}") to keys that are split into heads; ${WITHOUT_IT}`);
  return {
    index: cache.index,
    queryHeads: heads,
    kvHeads: heads,
    headDim,
    ...common(index, node, caches),
    elemType: cache.key.elemType,
    rows: (builder) => {
      const biases = bias ? splitBias(builder, bias, heads * headDim) : [];
      const part = (at: number, alreadySplit = false) => {
        const given = node.input[at] ?? '';
        if (alreadySplit) return given;
        const rows = biases[at] ? builder.op('Add', [given, biases[at]]) : given;
        return splitHeads(builder, rows, cache.index, heads, headDim);
      };
      return { query: part(INPUT.query), key: part(INPUT.key, split[0]), value: part(INPUT.value, split[1]) };
    },
  };
}

/** The biases of queries, keys and values, [width] each, from one of [3 * width]. */
function splitBias(builder: GraphBuilder, bias: string, width: number): string[] {
  const sizes = builder.int64('bias_sizes', [3], [width, width, width]);
  return builder.ops('Split', [bias, sizes], { attributes: { axis: 0 }, outputs: 3 });
}

/**
 * Takes apart a layer that appends to its cache with Concat, repeats the key heads, and attends over the result with
 * com.microsoft.MultiHeadAttention, as the GenAI model builder writes grouped heads.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function repeatedMultiHeadAttention(
  index: GraphIndex,
  cache: LayerCache,
  key: ConcatenatedCache,
  value: ConcatenatedCache,
): AttentionLayer {
  const node = readerOf(key, value, INPUT);
  refuseVariants(node);
  const queryHeads = intAttribute(node, 'num_heads', 0);
  const { kvHeads, headDim } = cache.key;
  if (!kvHeads || !headDim) {
    throw refusal(node, `"${cache.key.past}" does not declare its heads; ${USE_ANOTHER_EXPORT}`);
  }
  const shape = { kvHeads, headDim };
  for (const [half, input] of [[key, INPUT.key] as const, [value, INPUT.value] as const]) {
    const found = repeatedHeads(
      index,
      half.whole,
      node.input[input] ?? '',
      ['[B, T, heads * headDim]'],
      shape,
    );
    const reason =
      typeof found === 'string'
        ? found
        : found.factor !== 1 || found.repeats * kvHeads !== queryHeads
          ? `its ${queryHeads} heads are not the ${kvHeads} of "${cache.key.past}" repeated`
          : undefined;
    if (reason) throw refusal(node, `${reason}; ${USE_ANOTHER_EXPORT}`);
  }
  if (node.input[INPUT.bias])
    throw refusal(node, `it adds a bias ("${node.input[INPUT.bias]}") to repeated heads; ${WITHOUT_IT}`);
  return {
    index: cache.index,
    queryHeads,
    ...shape,
    ...common(index, node, { ...shape, whole: [key.whole, value.whole] }),
    elemType: value.readType,
    rows: (builder) => ({
      query: splitHeads(builder, node.input[INPUT.query] ?? '', cache.index, queryHeads, headDim),
      key: castRows(builder, key, value.readType),
      value: castRows(builder, value, value.readType),
    }),
  };
}

function common(index: GraphIndex, node: Node, caches: CacheShapes) {
  const masks: Mask[] = [];
  const { [INPUT.mask]: added, [INPUT.keyPadding]: padding } = node.input;
  if (added) masks.push({ value: added, use: 'added' });
  if (padding) masks.push({ value: padding, use: 'keeps-keys' });
  const causal = intAttribute(node, 'unidirectional', 0) === 1;
  return {
    ...maskWindow(index, node, masks, caches, { causal }),
    description: { pattern: 'MultiHeadAttention', node: node.name, packed: false, rope: 'outside' as const },
    scale: floatAttribute(node, 'scale', 0) || 1 / Math.sqrt(caches.headDim),
    softcap: 0,
    replaces: [node],
    output: node.output[0] ?? '',
    outputLayout: 'rows' as const,
  };
}

function refuseVariants(node: Node): void {
  if (!node.input[INPUT.key] || !node.input[INPUT.value])
    throw refusal(node, `it takes packed queries, keys and values; ${USE_ANOTHER_EXPORT}`);
  for (const [at, what] of Object.entries(REFUSED_INPUTS)) {
    const name = node.input[Number(at)];
    if (name) throw refusal(node, `it takes ${what} ("${name}"); ${WITHOUT_IT}`);
  }
  if (node.input.slice(10).some(Boolean))
    throw refusal(node, `it has ${node.input.length} inputs, and only 10 are known; ${WITHOUT_IT}`);
  if (node.output.slice(3).some(Boolean)) throw refusal(node, `it also gives its scores; ${WITHOUT_IT}`);
  const filled = floatAttribute(node, 'mask_filter_value', -1e4);
  if (!(filled <= HIDDEN)) throw refusal(node, `its masks only add ${filled} to the scores; ${WITHOUT_IT}`);
  const unknown = node.attribute.find(({ name }) => !ATTRIBUTES.has(name));
  if (unknown) throw refusal(node, `its attribute "${unknown.name}" is not known; ${WITHOUT_IT}`);
}
