import { contractNames, TOKEN_INPUTS, tokenInputOf, USE_ANOTHER_EXPORT, unsupported } from '../../decoder.js';
import { intAttribute } from '../../onnx/attributes.js';
import { shapeOf } from '../../onnx/builder.js';
import { DataType, type Graph, type Node } from '../../onnx/onnx.js';
import { beforeCasts, type GraphIndex } from '../../onnx/queries.js';

/** One half (keys or values) of a layer's cache: where it enters and leaves the original graph. */
export interface CacheTensor {
  /** The graph input, [B, kvHeads, P, headDim]. */
  past: string;
  /** The graph output, [B, kvHeads, P + S, headDim]. */
  present: string;
  /** The number of key heads that the input declares, undefined when it is only a name. */
  kvHeads: number | undefined;
  /** The size of headDim that the input declares, undefined when it is only a name. */
  headDim: number | undefined;
  /** The one node that attends with it, and at which of its inputs. */
  consumer: { node: Node; input: number };
  /** Its element type where it meets that node. */
  elemType: DataType;
}

export interface LayerCache {
  index: number;
  key: CacheTensor;
  value: CacheTensor;
}

/** Half of a layer's cache, as an input or an output. Exporters that know encoders as well say that it is the decoder's. */
const CACHE = /^(past_key_values|present)\.(\d+)\.(?:decoder\.)?(key|value)$/;

/** What the name of an input or output says: which layer's cache, which half of it, and whether it comes in; undefined for others. */
export function cacheNamed(
  name: string,
): { layer: number; part: 'key' | 'value'; past: boolean } | undefined {
  const [, kind, layer, part] = CACHE.exec(name) ?? [];
  return kind ? { layer: Number(layer), part: part as 'key' | 'value', past: kind !== 'present' } : undefined;
}

/**
 * The caches of a decoder in layer order, found by following `past_key_values.*` inputs and `present.*` outputs.
 * @throws ElasticCacheError 'unsupported-graph' when the graph is no decoder with one such cache per layer.
 */
export function findCaches(index: GraphIndex): LayerCache[] {
  const { graph } = index;
  refuseOtherForms(graph);
  const layers = new Set<number>();
  for (const { name } of graph.input) {
    const cache = cacheNamed(name);
    if (cache?.past) layers.add(cache.layer);
  }
  if (layers.size === 0) {
    throw unsupported(
      'The graph has no past_key_values.* inputs: give the decoder of a transformers.js model, for instance onnx/decoder_model_merged.onnx.',
    );
  }
  return [...layers]
    .sort((a, b) => a - b)
    .map((layer, i) => {
      if (layer !== i) {
        throw unsupported(
          `The decoder has a cache for layer ${layer} but none for layer ${i}: models that mix attention with other layers are not supported; choose a model whose every layer attends.`,
        );
      }
      return { index: i, key: cacheTensor(index, i, 'key'), value: cacheTensor(index, i, 'value') };
    });
}

function refuseOtherForms(graph: Graph): void {
  for (const { name } of graph.input) {
    if (/^past/.test(name) && !cacheNamed(name)) {
      throw unsupported(
        `The decoder keeps a state other than keys and values, its input "${name}": hybrid and encoder-decoder models are not supported; choose a decoder whose every layer attends.`,
      );
    }
  }
  const lacks = !tokenInputOf(graph)
    ? `input named ${TOKEN_INPUTS.map((name) => `"${name}"`).join(' or ')}`
    : graph.output.some(({ name }) => name === contractNames.logits)
      ? undefined
      : `output named "${contractNames.logits}"`;
  if (lacks) throw unsupported(`The decoder has no ${lacks}: ${USE_ANOTHER_EXPORT}.`);
}

function cacheTensor(index: GraphIndex, layer: number, part: 'key' | 'value'): CacheTensor {
  const half = ({ name }: { name: string }) => {
    const cache = cacheNamed(name);
    return cache?.layer === layer && cache.part === part;
  };
  const input = index.graph.input.find(half);
  if (!input)
    throw unsupported(
      `The decoder has no input "past_key_values.${layer}.${part}" although it has the other half of that layer's cache.`,
    );
  const past = input.name;
  const output = index.graph.output.find(half);
  if (!output) {
    throw unsupported(
      `The decoder has no output "${past.replace('past_key_values', 'present')}" for its input "${past}": ${USE_ANOTHER_EXPORT}.`,
    );
  }
  const present = output.name;
  const elemType = input.type?.tensorType?.elemType ?? DataType.FLOAT;
  const ends = attendingNodes(index, past, elemType);
  const first = ends[0];
  if (!first) throw unsupported(`No node attends with the cache "${past}": ${USE_ANOTHER_EXPORT}.`);
  const other = ends[1];
  if (other) {
    throw unsupported(
      `The cache "${past}" is read by two nodes, "${first.node.name}" (${first.node.opType}) and "${other.node.name}" (${other.node.opType}): layers that share a cache are not supported; ${USE_ANOTHER_EXPORT}.`,
    );
  }
  const [, kvHeads, , headDim] = shapeOf(input) ?? [];
  return {
    past,
    present,
    kvHeads: typeof kvHeads === 'number' ? kvHeads : undefined,
    headDim: typeof headDim === 'number' ? headDim : undefined,
    consumer: { node: first.node, input: first.input },
    elemType: first.elemType,
  };
}

/** The nodes that a past value reaches through Identity and Cast. Shape is left out: it must be dead after the rewrite. */
function attendingNodes(
  index: GraphIndex,
  name: string,
  elemType: DataType,
): { node: Node; input: number; elemType: DataType }[] {
  return index.consumers(name).flatMap((node) => {
    if (node.opType === 'Shape') return [];
    if (node.opType === 'Identity') return attendingNodes(index, node.output[0] ?? '', elemType);
    if (node.opType === 'Cast')
      return attendingNodes(index, node.output[0] ?? '', intAttribute(node, 'to', elemType));
    return [{ node, input: node.input.indexOf(name), elemType }];
  });
}

/** The node that makes a present output and which of its outputs it is, seen through Identity and Cast. */
export function presentSource(
  index: GraphIndex,
  present: string,
): { node: Node; output: number } | undefined {
  const name = beforeCasts(index, present);
  const node = index.producer(name);
  return node && { node, output: node.output.indexOf(name) };
}
