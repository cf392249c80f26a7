import { axisOf } from '../analysis/arrays.js';
import { COMPARES, refuseChunkChoices } from '../analysis/chunk-choices.js';
import { contractNames, MASK } from '../decoder.js';
import { attributeOf, intAttribute } from '../onnx/attributes.js';
import { type GraphBuilder, shapeOf } from '../onnx/builder.js';
import { DataType, type Node } from '../onnx/onnx.js';
import { beforeCasts, GraphIndex } from '../onnx/queries.js';

/** Nodes that pass one number on. */
const PASSES = /^(Cast|Identity|Squeeze|Unsqueeze|Reshape)$/;
/** Nodes that move a number by another. */
const MOVES = /^(Add|Sub)$/;

/**
 * Lets a decoder that chooses its tables of rotation by the length of the text (LongRoPE: an If, or an offset of the
 * positions) choose by `text_length`, all tokens seen and those of the call. By itself it looks at the attention mask or the
 * largest position, which are those of one chunk where a prompt is run in several: the first chunks would be rotated by
 * the tables of a short text, as the original, which takes the prompt at once, rotates none of it.
 * @param nodes those of the original; of its masks none is left
 * @throws ElasticCacheError 'unsupported-graph' for a comparison or an If that looks at the text in another way
 */
export function chooseByTextLength(builder: GraphBuilder, nodes: ReadonlySet<Node>): void {
  const { graph } = builder;
  const index = new GraphIndex(graph);
  const made = new Map<string, string>();
  for (const node of [...graph.node]) {
    if (!COMPARES.test(node.opType) || !nodes.has(node)) continue;
    node.input = node.input.map((name) => {
      const path = pathFromText(index, name);
      if (!path) return name;
      const chosen = made.get(name) ?? builtAgain(builder, index, path);
      made.set(name, chosen);
      return chosen;
    });
  }
  refuseChunkChoices(graph, nodes);
}

/**
 * The nodes that make a number of the length of the text and nothing else, in order: the first takes it from the attention
 * mask or the positions, and each takes what the one before gives. Undefined when `name` is no such number.
 */
function pathFromText(index: GraphIndex, name: string): Node[] | undefined {
  const node = index.producer(name);
  if (!node) return undefined;
  if (takesLength(index, node) || takesLargestPosition(index, node)) return [node];
  const number = PASSES.test(node.opType) ? node.input[0] : moved(index, node);
  const before = number && pathFromText(index, number);
  return before ? [...before, node] : undefined;
}

/** The input that a node adds a constant to, or takes one from. */
function moved(index: GraphIndex, { opType, input }: Node): string | undefined {
  if (!MOVES.test(opType)) return undefined;
  const others = input.filter((name) => !index.constant(name));
  return others.length === 1 ? others[0] : undefined;
}

/** Gather of the second and last of Shape(attention_mask) [B, tokens seen + S]. */
function takesLength(index: GraphIndex, node: Node): boolean {
  if (node.opType !== 'Gather' || intAttribute(node, 'axis', 0) !== 0) return false;
  const [data = '', indices = ''] = node.input;
  const shape = index.producer(data);
  const at = index.constantNumbers(indices);
  return (
    shape?.opType === 'Shape' &&
    shape.input[0] === MASK &&
    shape.attribute.length === 0 &&
    at?.length === 1 &&
    (at[0] === 1 || at[0] === -1)
  );
}

/** ReduceMax of the positions [B, S] over both axes. */
function takesLargestPosition(index: GraphIndex, node: Node): boolean {
  const [data = '', named] = node.input;
  if (node.opType !== 'ReduceMax' || !isPositions(index, data)) return false;
  const axes = named ? index.constantNumbers(named) : (attributeOf(node, 'axes')?.ints.map(Number) ?? []);
  if (axes?.length === 0) return intAttribute(node, 'noop_with_empty_axes', 0) === 0;
  return new Set(axes?.map((axis) => axisOf(axis, 2))).size === 2;
}

/** Whether a value is the positions [B, S], one for each token. */
function isPositions(index: GraphIndex, name: string): boolean {
  const uncast = beforeCasts(index, name);
  const input = index.graph.input.find((each) => each.name === uncast);
  return uncast === contractNames.positionIds && input !== undefined && shapeOf(input)?.length === 2;
}

/** Adds the nodes of a path once more, from `text_length` on, and gives the value that the last one makes. */
function builtAgain(builder: GraphBuilder, index: GraphIndex, [first, ...others]: readonly Node[]): string {
  let before = first!.output[0];
  let number = first!.opType === 'Gather' ? length(builder, first!) : largestPosition(builder, index, first!);
  for (const node of others) {
    const inputs = node.input.map((name) => (name === before ? number : name));
    before = node.output[0];
    number = builder.copy(node, inputs);
  }
  return number;
}

/** The length of the whole text, as a Gather has taken that of the mask. */
function length(builder: GraphBuilder, gather: Node): string {
  // It stands where the mask's rows stood: at 1 of [1, length].
  const sizes = builder.op('Concat', [builder.int64('one', [1], [1]), textLength(builder)], {
    attributes: { axis: 0 },
  });
  return builder.copy(gather, [sizes, ...gather.input.slice(1)]);
}

/** The last position of the whole text, of the type and shape that a ReduceMax has given the largest one. */
function largestPosition(builder: GraphBuilder, index: GraphIndex, reduce: Node): string {
  const last = builder.op('Sub', [textLength(builder), builder.int64('one', [1], [1])]);
  const type = typeOf(index, reduce.input[0] ?? '');
  const number = type === DataType.INT64 ? last : builder.op('Cast', [last], { attributes: { to: type } });
  const shape = intAttribute(reduce, 'keepdims', 1) === 1 ? [1, 1] : [];
  return builder.op('Reshape', [number, builder.int64('one_number', [shape.length], shape)]);
}

/** Positions are int64 unless the graph casts them. */
function typeOf(index: GraphIndex, name: string): DataType {
  const node = index.producer(name);
  if (node?.opType === 'Identity') return typeOf(index, node.input[0] ?? '');
  return node ? intAttribute(node, 'to', DataType.INT64) : DataType.INT64;
}

function textLength(builder: GraphBuilder): string {
  const name = contractNames.textLength;
  const declared = builder.graph.input.some((input) => input.name === name);
  return declared ? name : builder.input(name, DataType.INT64, [1]);
}
