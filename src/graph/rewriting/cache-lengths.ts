import { MASK, tokenInputOf } from '../decoder.js';
import { intAttribute } from '../onnx/attributes.js';
import type { GraphBuilder } from '../onnx/builder.js';
import type { Node } from '../onnx/onnx.js';
import { beforeCasts, GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from '../patterns/attention-layer.js';
import { cacheNamed } from '../patterns/parts/caches.js';

/**
 * Replaces every Shape of a cache input, which the rewritten graph has no more, by the shape a full cache would have:
 * batch and new tokens as the input of tokens has them, tokens seen as the attention mask is long. Positions and tables that
 * a graph counts by the length of its cache stay right that way after an eviction.
 */
export function replaceCacheShapes(builder: GraphBuilder, layers: readonly AttentionLayer[]): void {
  const { graph } = builder;
  const tokens = tokenInputOf(graph);
  if (!tokens || !graph.input.some(({ name }) => name === MASK)) return;
  const index = new GraphIndex(graph);
  const shapes = new Map<Node, AttentionLayer>();
  for (const node of graph.node) {
    // Converters to float16 cast each cache.
    const cache = node.opType === 'Shape' && cacheNamed(beforeCasts(index, node.input[0] ?? ''));
    const layer = cache && (cache.past ? layers[cache.layer] : undefined);
    if (layer) shapes.set(node, layer);
  }
  graph.node = graph.node.filter((node) => !shapes.has(node));
  for (const [node, layer] of shapes) {
    const dims = [
      () => sizeOf(builder, tokens, 0),
      () => builder.int64('cache_heads', [1], [layer.kvHeads]),
      () => builder.op('Sub', [sizeOf(builder, MASK, 1), sizeOf(builder, tokens, 1)]),
      () => builder.int64('cache_head_dim', [1], [layer.headDim]),
    ];
    const wanted = dims.slice(intAttribute(node, 'start', 0), intAttribute(node, 'end', dims.length));
    builder.op(
      'Concat',
      wanted.map((size) => size()),
      { attributes: { axis: 0 }, outputs: node.output, name: node.name },
    );
  }
}

function sizeOf(builder: GraphBuilder, name: string, axis: number): string {
  return builder.op('Gather', [builder.op('Shape', [name]), builder.int64(`axis_${axis}`, [1], [axis])]);
}
