import { attributeOf, intAttribute } from './attributes.js';
import { type GraphBuilder, shapeOf } from './builder.js';
import { contractNames, USE_ANOTHER_EXPORT, unsupported } from './decoder.js';
import { DataType, type Node } from './onnx.js';
import { GraphIndex, usedNames } from './queries.js';

const MASK = 'attention_mask';

const COMPARES = /^(Greater|Less)(OrEqual)?$/;
/** Nodes that pass one number on. */
const PASSES = /^(Cast|Identity|Squeeze|Unsqueeze|Reshape)$/;

/**
 * Lets a decoder that chooses its tables of rotation by the length of the text (LongRoPE: an If, or an offset of the
 * positions) choose by `text_length`, all tokens seen and those of the call. By itself it looks at the attention mask or the
 * largest position, which are those of one chunk where a prompt is run in several: the first chunks would be rotated by
 * the tables of a short text, as the original, which takes the prompt at once, rotates none of it.
 * @param nodes those of the original
 * @throws ElasticCacheError 'unsupported-graph' for an If that chooses by the text in another way
 */
export function chooseByTextLength(builder: GraphBuilder, nodes: ReadonlySet<Node>): void {
  const { graph } = builder;
  const index = new GraphIndex(graph);
  const made = new Map<string, string>();
  for (const node of [...graph.node]) {
    if (!COMPARES.test(node.opType) || !nodes.has(node)) continue;
    node.input = node.input.map((name) => {
      const chosen = made.get(name) ?? wholeLength(builder, index, name) ?? name;
      made.set(name, chosen);
      return chosen;
    });
  }
  const now = new GraphIndex(graph);
  for (const node of graph.node) {
    const [condition = ''] = node.input;
    if (node.opType === 'If' && nodes.has(node) && dependsOnText(now, condition)) {
      throw unsupported(
        `Node "${node.name}" (If) chooses by the attention mask or the positions in a way that is not supported: ${USE_ANOTHER_EXPORT}.`,
      );
    }
  }
}

/** The number `name` made of the length of the whole text, where it is that of the attention mask or the largest position. */
function wholeLength(builder: GraphBuilder, index: GraphIndex, name: string): string | undefined {
  const node = index.producer(name);
  if (!node) return undefined;
  const [data = '', ...others] = node.input;
  if (PASSES.test(node.opType)) {
    const inner = wholeLength(builder, index, data);
    if (inner === undefined) return undefined;
    const [passed = ''] = builder.ops(node.opType, [inner, ...others]);
    index.graph.node.at(-1)!.attribute.push(...node.attribute);
    return passed;
  }
  if (node.opType === 'Gather' && intAttribute(node, 'axis', 0) === 0) {
    const shape = index.producer(data);
    const at = index.constantNumbers(others[0] ?? '');
    if (shape?.opType !== 'Shape' || shape.input[0] !== MASK || shape.attribute.length > 0) return undefined;
    if (at?.length !== 1 || (at[0] !== 1 && at[0] !== -1)) return undefined;
    // The length stands where the mask's rows stood: at 1 of [1, length].
    const sizes = builder.op('Concat', [builder.int64('one', [1], [1]), textLength(builder)], {
      attributes: { axis: 0 },
    });
    return builder.op('Gather', [sizes, others[0]]);
  }
  if (node.opType === 'ReduceMax' && isPositions(index, data) && !others[0] && !attributeOf(node, 'axes')) {
    const last = builder.op('Sub', [textLength(builder), builder.int64('one', [1], [1])]);
    const type = typeOf(index, data);
    const number = type === DataType.INT64 ? last : builder.op('Cast', [last], { attributes: { to: type } });
    const shape = intAttribute(node, 'keepdims', 1) === 1 ? [1, 1] : [];
    return builder.op('Reshape', [number, builder.int64('one_number', [shape.length], shape)]);
  }
  return undefined;
}

/** Whether a value is the positions [B, S], one for each token. */
function isPositions(index: GraphIndex, name: string): boolean {
  const node = index.producer(name);
  if (node && /^(Cast|Identity)$/.test(node.opType)) return isPositions(index, node.input[0] ?? '');
  const input = index.graph.input.find((each) => each.name === name);
  return name === contractNames.positionIds && input !== undefined && shapeOf(input)?.length === 2;
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

function dependsOnText(index: GraphIndex, condition: string): boolean {
  const seen = new Set([condition]);
  for (const name of seen) {
    if (name === MASK || name === contractNames.positionIds) return true;
    const node = index.producer(name);
    if (node) for (const each of usedNames(node)) seen.add(each);
  }
  return false;
}
