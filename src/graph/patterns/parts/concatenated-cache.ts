import { USE_ANOTHER_EXPORT } from '../../decoder.js';
import { intAttribute } from '../../onnx/attributes.js';
import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType, type Node } from '../../onnx/onnx.js';
import type { GraphIndex } from '../../onnx/queries.js';
import { type CacheTensor, type LayerCache, presentSource } from './caches.js';
import { refusal } from './own-cache.js';

/** A cache that a Concat node of the graph appends new rows to. */
export interface ConcatenatedCache {
  /** Past and new rows, [B, kvHeads, P + S, headDim]. */
  whole: string;
  /** The new rows, [B, kvHeads, S, headDim]. */
  rows: string;
  elemType: DataType;
  /** The node that attends with it, at which of its inputs, and what type it is there. */
  reader: Node;
  input: number;
  readType: DataType;
}

/** Nodes between the cache and the operator that attends with it. */
const BETWEEN = new Set([
  'Identity',
  'Cast',
  'Unsqueeze',
  'Squeeze',
  'Expand',
  'Tile',
  'Reshape',
  'Transpose',
  'Slice',
  'Mul',
]);

/**
 * Follows both halves of a cache from their Concat nodes to the node that reads them.
 * @throws ElasticCacheError 'unsupported-graph' with the node's name and the reason.
 */
export function concatenatedCache(
  index: GraphIndex,
  cache: LayerCache,
): { key: ConcatenatedCache; value: ConcatenatedCache } {
  return { key: half(index, cache.key), value: half(index, cache.value) };
}

function half(index: GraphIndex, { past, present, consumer, elemType }: CacheTensor): ConcatenatedCache {
  const { node, input } = consumer;
  const axis = intAttribute(node, 'axis', 0);
  const [whole = ''] = node.output;
  const refused = (reason: string) => refusal(node, `${reason}; ${USE_ANOTHER_EXPORT}`);
  if (node.opType !== 'Concat' || input !== 0 || node.input.length !== 2 || (axis !== 2 && axis !== -2)) {
    throw refused(`it does not append new tokens to "${past}"`);
  }
  if (presentSource(index, present)?.node !== node) {
    throw refused(`the output "${present}" is not what it made of "${past}"`);
  }
  const readers = readersOf(index, whole, elemType, new Set());
  const [reader, other] = readers;
  if (!reader) throw refused('no node attends with what it makes');
  if (other) {
    throw refused(
      `two nodes read what it makes, "${reader.node.name}" (${reader.node.opType}) and "${other.node.name}" (${other.node.opType}), and layers that share a cache are not supported`,
    );
  }
  return {
    whole,
    rows: node.input[1] ?? '',
    elemType,
    reader: reader.node,
    input: reader.input,
    readType: reader.type,
  };
}

/**
 * The one node that attends with both halves, which it takes at these inputs.
 * @throws ElasticCacheError 'unsupported-graph' when there is no such node.
 */
export function readerOf(
  key: ConcatenatedCache,
  value: ConcatenatedCache,
  inputs: { key: number; value: number },
): Node {
  const node = value.reader;
  if (key.reader === node && key.input === inputs.key && value.input === inputs.value) return node;
  throw refusal(node, `it does not take both halves of one cache; ${USE_ANOTHER_EXPORT}`);
}

function readersOf(
  index: GraphIndex,
  name: string,
  type: DataType,
  passed: Set<Node>,
): { node: Node; input: number; type: DataType }[] {
  return index.consumers(name).flatMap((node) => {
    if (node.opType === 'Shape' || passed.has(node)) return [];
    passed.add(node);
    const input = node.input.indexOf(name);
    if (!BETWEEN.has(node.opType) || (input !== 0 && node.opType !== 'Mul')) return [{ node, input, type }];
    const to = node.opType === 'Cast' ? intAttribute(node, 'to', DataType.FLOAT) : type;
    return readersOf(index, node.output[0] ?? '', to, passed);
  });
}

/** The new rows in the type in which the layer attends. */
export function castRows(builder: GraphBuilder, { rows, elemType }: ConcatenatedCache, to: DataType): string {
  return elemType === to ? rows : builder.op('Cast', [rows], { attributes: { to } });
}
