import { attributeOf } from '../../onnx/attributes.js';
import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType, type Node } from '../../onnx/onnx.js';
import { renameValue } from '../../onnx/queries.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { reshape } from '../shapes.js';

/** New rows of a layer as they lie token by token. */
export interface TokenRows {
  /** [B, S, heads * headDim] */
  readonly flat: string;
  /** A value of the graph with the same numbers in the same order, in one shape or another. */
  readonly source: string;
  /** Makes [B, heads, S, headDim] of them. */
  readonly byHead: (builder: GraphBuilder) => string;
}

const TURN = [0, 2, 1, 3];

/**
 * Adds what makes a layer's new rows, up to where they are turned to lie head by head: for one token that changes nothing but the shape. Where they are made head by head they are turned back.
 */
export function tokenRows(
  builder: GraphBuilder,
  layer: AttentionLayer,
): Record<'query' | 'key' | 'value', TokenRows> {
  const { queryHeads, kvHeads } = layer;
  const before = new Set(builder.graph.node);
  const made = layer.rows(builder);
  const of = (name: string, heads: number) => rowsOf(builder, layer, name, heads, before);
  return { query: of(made.query, queryHeads), key: of(made.key, kvHeads), value: of(made.value, kvHeads) };
}

/** @param before nodes of the original */
function rowsOf(
  builder: GraphBuilder,
  { index, headDim }: AttentionLayer,
  name: string,
  heads: number,
  before: ReadonlySet<Node>,
): TokenRows {
  const madeBy = (value: string) => builder.graph.node.findLast(({ output }) => output.includes(value));
  const turn = (inner: GraphBuilder, value: string) =>
    inner.op('Transpose', [value], { attributes: { perm: TURN } });
  const flatOf = (value: string) => reshape(builder, value, `flat_shape.${index}`, [0, 0, heads * headDim]);
  const turned = madeBy(name);
  if (!turned || !isTurn(turned)) {
    const source = turn(builder, name);
    return { flat: flatOf(source), source, byHead: () => name };
  }
  const split = turned.input[0]!;
  const splitting = madeBy(split);
  const byHead = (inner: GraphBuilder) => turn(inner, split);
  if (splitting?.opType !== 'Reshape') return { flat: flatOf(split), source: split, byHead };
  const source = splitting.input[0]!;
  // What a layer is taken apart into is rows [B, S, heads * headDim] before it is split.
  return { flat: before.has(splitting) ? flatOf(split) : source, source, byHead };
}

function isTurn(node: Node): boolean {
  return node.opType === 'Transpose' && String(attributeOf(node, 'perm')?.ints) === String(TURN);
}

/** Makes rows an output of the graph, as float32: by giving their value that name, since a copy of it would be one more thing to do in each step. */
export function giveRows(
  builder: GraphBuilder,
  { elemType }: AttentionLayer,
  { source }: TokenRows,
  name: string,
): void {
  const { graph } = builder;
  const isMade = graph.node.some(({ output }) => output.includes(source));
  const isGiven = graph.output.some((output) => output.name === source);
  if (elemType !== DataType.FLOAT)
    builder.op('Cast', [source], { attributes: { to: DataType.FLOAT }, outputs: [name] });
  else if (isMade && !isGiven) renameValue(graph, source, name);
  else builder.op('Identity', [source], { outputs: [name] });
  builder.output(name, DataType.FLOAT);
}
