import { broadcastDims } from '../analysis/arrays.js';
import type { Evaluator } from '../analysis/evaluate.js';
import { batchOf, evaluatorAtSizes } from '../analysis/evaluate-at-sizes.js';
import { contractNames } from '../decoder.js';
import type { Graph, Node } from '../onnx/onnx.js';
import { GraphIndex } from '../onnx/queries.js';
import type { AttentionLayer } from '../patterns/attention-layer.js';

/** Sizes that no other dimension of a decoder has: where they turn up they are the new tokens, or all of them. */
const TOKENS = 61;
const PAST = 67;

const ELEMENTWISE = /^(Add|Sub|Mul|Div|Where|Pow)$/;

/**
 * Why a rewritten graph whose original was traced for one new token cannot take several, or an empty past; undefined
 * when it can. What was traced may hold a length as a constant: shapes then fit one token only, one row of a rotation
 * would serve all tokens (which runs, and is wrong), or a table is cut too short.
 * @param nodes those of the original that are left
 */
export function oneTokenOnly(
  graph: Graph,
  layers: readonly AttentionLayer[],
  nodes: ReadonlySet<Node>,
): string | undefined {
  const index = new GraphIndex(graph);
  const rows = layers.flatMap(({ index }) => [contractNames.newKey(index), contractNames.newValue(index)]);
  for (const past of [PAST, 0]) {
    const evaluator = evaluatorOf(index, layers, past);
    let reason = unlike(evaluator, [...rows, contractNames.logits]);
    for (const node of graph.node) {
      if (!nodes.has(node)) continue;
      reason ??= oneRow(evaluator, node) ?? shortTable(index, evaluator, node, past + TOKENS);
    }
    if (reason !== undefined) return `with ${past} tokens held and ${TOKENS} new ${reason}`;
  }
  return undefined;
}

function evaluatorOf(index: GraphIndex, layers: readonly AttentionLayer[], past: number): Evaluator {
  const [{ kvHeads, headDim } = { kvHeads: 1, headDim: 1 }] = layers;
  const batch = batchOf(index);
  const sizes = { batch, past, tokens: TOKENS, padded: 0 };
  const evaluator = evaluatorAtSizes(index, { kvHeads, headDim, whole: [] }, sizes);
  for (const { output, outputLayout, queryHeads, headDim } of layers) {
    const dims =
      outputLayout === 'rows' ? [batch, TOKENS, queryHeads * headDim] : [batch, queryHeads, TOKENS, headDim];
    evaluator.declare({ [output]: dims });
  }
  return evaluator;
}

/** A value whose shape does not follow the new tokens. */
function unlike(evaluator: Evaluator, names: readonly string[]): string | undefined {
  for (const name of names) {
    try {
      if (!evaluator.dims(name).includes(TOKENS)) return `"${name}" would not hold all of them`;
    } catch (cause) {
      return `the shape of "${name}" is not known: ${(cause as Error).message}`;
    }
  }
  return undefined;
}

/** An activation with one row where another has one for each new token. */
function oneRow(evaluator: Evaluator, node: Node): string | undefined {
  if (!ELEMENTWISE.test(node.opType)) return undefined;
  let shapes: (readonly number[])[];
  try {
    shapes = node.input.map((name) => evaluator.dims(name));
  } catch (cause) {
    return `the shapes that node "${node.name}" (${node.opType}) takes are not known: ${(cause as Error).message}`;
  }
  const dims = shapes.reduce(broadcastDims);
  const fromEnd = dims.length - dims.lastIndexOf(TOKENS);
  const shared = node.input.find((name, i) => shapes[i]!.at(-fromEnd) === 1 && !isLength(evaluator, name));
  return dims.includes(TOKENS) && shared !== undefined
    ? `node "${node.name}" (${node.opType}) would use one row of "${shared}" for all of them`
    : undefined;
}

/** A table cut to fewer rows than there are positions. */
function shortTable(index: GraphIndex, evaluator: Evaluator, node: Node, total: number): string | undefined {
  const [table = '', positions = ''] = node.input;
  if (node.opType !== 'Gather' || index.constant(table)) return undefined;
  try {
    const [rows = 0] = evaluator.dims(table);
    if (!evaluator.dims(positions).includes(TOKENS) || rows >= total) return undefined;
    return `node "${node.name}" (Gather) would read position ${total} of a table of ${rows}`;
  } catch (cause) {
    return `the shapes that node "${node.name}" (Gather) takes are not known: ${(cause as Error).message}`;
  }
}

/** Whether a value is a whole number made of lengths, which may be one for all tokens. */
function isLength(evaluator: Evaluator, name: string): boolean {
  try {
    return evaluator.value(name).integer;
  } catch {
    return false;
  }
}
