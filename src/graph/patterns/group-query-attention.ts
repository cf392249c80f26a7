import type { Visible } from '../analysis/causal-mask.js';
import { USE_ANOTHER_EXPORT } from '../decoder.js';
import { floatAttribute, intAttribute, stringAttribute } from '../onnx/attributes.js';
import type { GraphBuilder } from '../onnx/builder.js';
import { DataType, type Node } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from './attention-layer.js';
import type { LayerCache } from './parts/caches.js';
import { headDimOf } from './parts/head-dim.js';
import { maskWindow } from './parts/mask-window.js';
import { checkOwnCache, refusal, WITHOUT_IT } from './parts/own-cache.js';
import { type Rotation, rotate, rotationOf } from './parts/rotation.js';

/** Positions of the inputs of com.microsoft.GroupQueryAttention. */
const INPUT = {
  query: 0,
  key: 1,
  value: 2,
  pastKey: 3,
  pastValue: 4,
  bias: 10,
  sink: 11,
  keyScale: 12,
  valueScale: 13,
  qNorm: 14,
  kNorm: 15,
} as const;

const ATTRIBUTES = new Set([
  'num_heads',
  'kv_num_heads',
  'scale',
  'do_rotary',
  'rotary_interleaved',
  'rotary_embedding_dim',
  'local_window_size',
  'softcap',
  'smooth_softmax',
  'causal',
  'qk_output',
  'qk_norm_epsilon',
  'k_quant_type',
  'v_quant_type',
  'kv_cache_bit_width',
  'sliding_window_cache',
]);

/**
 * Takes apart a layer that attends with com.microsoft.GroupQueryAttention: packed or separate queries, keys and values,
 * rotation inside the operator or before it, per-head norms inside it or before it, a window, a sink, a causal bias.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function groupQueryAttention(index: GraphIndex, cache: LayerCache): AttentionLayer {
  const node = checkOwnCache(index, cache, INPUT);
  refuseVariants(node);
  const queryHeads = intAttribute(node, 'num_heads', 0);
  const kvHeads = intAttribute(node, 'kv_num_heads', 0);
  if (!(queryHeads > 0 && kvHeads > 0 && queryHeads % kvHeads === 0)) {
    throw refusal(
      node,
      `its ${queryHeads} query heads are no multiple of its ${kvHeads} key-value heads; export the model again`,
    );
  }
  const packed = !node.input[INPUT.key] && !node.input[INPUT.value];
  const headDim = cache.key.headDim ?? headDimOf(index, node, { queryHeads, kvHeads, packed });
  if (!headDim)
    throw refusal(node, `the size of its heads cannot be read from the graph; ${USE_ANOTHER_EXPORT}`);
  const heads = { index: cache.index, queryHeads, kvHeads, headDim };
  const rotation = rotationOf(index, node, headDim);
  const sink = sinkOf(node, queryHeads);
  return {
    ...heads,
    ...visibleOf(index, node, heads),
    description: {
      pattern: 'GroupQueryAttention',
      node: node.name,
      packed,
      rope: rotation ? 'inside' : 'outside',
    },
    scale: floatAttribute(node, 'scale', 0) || 1 / Math.sqrt(headDim),
    softcap: floatAttribute(node, 'softcap', 0),
    ...(sink && { sink }),
    elemType: cache.key.elemType,
    replaces: [node],
    output: node.output[0] ?? '',
    outputLayout: 'rows',
    rows: (builder) => rows(builder, node, heads, packed, rotation),
  };
}

function refuseVariants(node: Node): void {
  if (intAttribute(node, 'causal', 1) !== 1) throw refusal(node, `it is not causal; ${WITHOUT_IT}`);
  if (intAttribute(node, 'sliding_window_cache', 0) > 0)
    throw refusal(node, `its cache is a sliding window; ${WITHOUT_IT}`);
  const quantised =
    node.input[INPUT.keyScale] ||
    node.input[INPUT.valueScale] ||
    intAttribute(node, 'kv_cache_bit_width', 0) > 0 ||
    ['k_quant_type', 'v_quant_type'].some((name) => stringAttribute(node, name, 'NONE') !== 'NONE');
  if (quantised) throw refusal(node, `its keys and values are quantised; ${WITHOUT_IT}`);
  const unknown = node.attribute.find(({ name }) => !ATTRIBUTES.has(name));
  if (unknown) throw refusal(node, `its attribute "${unknown.name}" is not known; ${WITHOUT_IT}`);
  if (node.input.slice(16).some(Boolean))
    throw refusal(node, `it has ${node.input.length} inputs, and only 16 are known; ${WITHOUT_IT}`);
  if (node.output[3]) throw refusal(node, `it also gives its scores ("${node.output[3]}"); ${WITHOUT_IT}`);
}

/** What the operator's own window shows, which counts the token itself, and one that its bias may make. */
function visibleOf(
  index: GraphIndex,
  node: Node,
  { kvHeads, headDim }: { kvHeads: number; headDim: number },
): Visible {
  const size = intAttribute(node, 'local_window_size', -1);
  const bias = node.input[INPUT.bias];
  const whole = [node.output[1] ?? '', node.output[2] ?? ''];
  return maskWindow(
    index,
    node,
    bias ? [{ value: bias, use: 'added' }] : [],
    { kvHeads, headDim, whole },
    { causal: true, ...(size > 0 && { window: size }) },
  );
}

/** A learned score for each head, [queryHeads], or zeros for a smooth softmax, whose denominator is one larger. */
function sinkOf(node: Node, queryHeads: number): AttentionLayer['sink'] {
  const name = node.input[INPUT.sink];
  if (name) {
    return (builder) =>
      builder.op('Reshape', [
        builder.op('Cast', [name], { attributes: { to: DataType.FLOAT } }),
        builder.int64('sink_shape', [4], [1, queryHeads, 1, 1]),
      ]);
  }
  if (intAttribute(node, 'smooth_softmax', 0) <= 0) return undefined;
  return (builder) => builder.float32('sink', [1, queryHeads, 1, 1], new Float32Array(queryHeads));
}

function rows(
  builder: GraphBuilder,
  node: Node,
  {
    index,
    queryHeads,
    kvHeads,
    headDim,
  }: { index: number; queryHeads: number; kvHeads: number; headDim: number },
  packed: boolean,
  rotation: Rotation | undefined,
): { query: string; key: string; value: string } {
  const at = (i: number) => node.input[i] ?? '';
  const sizes = [queryHeads, kvHeads, kvHeads].map((heads) => heads * headDim);
  const [query = '', key = '', value = ''] = packed
    ? builder.ops('Split', [at(INPUT.query), builder.int64(`qkv_sizes.${index}`, [3], sizes)], {
        attributes: { axis: -1 },
        outputs: 3,
      })
    : [at(INPUT.query), at(INPUT.key), at(INPUT.value)];
  const epsilon = floatAttribute(node, 'qk_norm_epsilon', 1e-6);
  const part = (name: string, heads: number, norm: string, turned: boolean) => {
    const shape = builder.int64(`heads_shape.${index}`, [4], [0, 0, heads, headDim]);
    let value = name;
    let split = false;
    if (norm) {
      value = builder.op('SimplifiedLayerNormalization', [builder.op('Reshape', [value, shape]), norm], {
        attributes: { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
      });
      split = true;
    }
    if (turned && rotation) {
      if (split)
        value = builder.op('Reshape', [
          value,
          builder.int64(`rows_shape.${index}`, [3], [0, 0, heads * headDim]),
        ]);
      value = rotate(builder, value, heads, rotation);
      split = false;
    }
    if (!split) value = builder.op('Reshape', [value, shape]);
    return builder.op('Transpose', [value], { attributes: { perm: [0, 2, 1, 3] } });
  };
  return {
    query: part(query, queryHeads, at(INPUT.qNorm), true),
    key: part(key, kvHeads, at(INPUT.kNorm), true),
    value: part(value, kvHeads, '', false),
  };
}
