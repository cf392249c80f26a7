import { GraphBuilder, shapeOf } from './builder.js';
import { contractNames } from './decoder.js';
import { cloneModel, DataType, graphOf, MICROSOFT, type Model, type Node } from './onnx.js';
import { GraphIndex, topologicalOrder } from './queries.js';
import { dimsOf } from './tensors.js';

/** As transformers.js knows it: the number of last tokens to give logits for, 0 for all. */
const INPUT = 'num_logits_to_keep';

/** Operators that give each token its logits from that token alone. */
const PROJECTIONS = new Set(['MatMul', 'MatMulNBits', 'DynamicQuantizeMatMul']);
/** Operators that may stand between the weights of a projection and the projection. */
const OF_WEIGHTS = new Set(['Transpose', 'Cast', 'Identity', 'DequantizeLinear']);
const UNARY = new Set(['Cast', 'Identity', 'Tanh']);
const BINARY = new Set(['Add', 'Sub', 'Mul', 'Div']);

/**
 * Gives a decoder that projects every token onto the vocabulary the input `num_logits_to_keep` (int64, []), by a slice before
 * that projection: a prompt needs the logits of its last token only. A decoder that has the input, or whose logits do not
 * come from a plain projection, is returned as it is; a changed one is a copy.
 * @throws ElasticCacheError 'invalid-model' when there is a cycle
 */
export function withLogitsToKeep(original: Model): Model {
  const model = cloneModel(original);
  const graph = graphOf(model);
  graph.node = topologicalOrder(graph);
  const output = graph.output.find(({ name }) => name === contractNames.logits);
  if (!output || shapeOf(output)?.length !== 3) return original;
  if (graph.input.some(({ name }) => name === INPUT)) return original;
  const chain = projection(new GraphIndex(graph));
  const node = chain?.at(-1);
  if (!chain || !node) return original;

  const builder = new GraphBuilder(model);
  const last = builder.int64('one_token_axis', [1], [1]);
  const end = builder.int64('to_the_end', [1], [Number.MAX_SAFE_INTEGER]);
  // A start of -n leaves the last n tokens, and -0 is 0: the slice is then everything.
  const start = builder.op('Neg', [
    builder.op('Reshape', [builder.input(INPUT, DataType.INT64, []), builder.int64('one_number', [1], [1])]),
  ]);
  node.input[0] = builder.op('Slice', [node.input[0] ?? '', start, end, last]);
  const sliced = new Set(chain.flatMap(({ output }) => output));
  graph.valueInfo = graph.valueInfo.filter(({ name }) => !sliced.has(name));
  const length = output.type?.tensorType?.shape?.dim[1];
  if (length) length.value = { case: 'dimParam', value: 'logits_length' };
  return model;
}

/** The nodes from the one that makes the logits back to the projection, when each treats every token by itself. */
function projection(index: GraphIndex): Node[] | undefined {
  const outputs = new Set(index.graph.output.map(({ name }) => name));
  const chain: Node[] = [];
  let name: string = contractNames.logits;
  for (let node = index.producer(name); node; node = index.producer(name)) {
    // What else reads these values would get only the last tokens.
    const shared = name !== contractNames.logits && (outputs.has(name) || index.consumers(name).length > 1);
    if (shared || index.consumers(contractNames.logits).length > 0) return undefined;
    chain.push(node);
    if (PROJECTIONS.has(node.opType)) return hasWeights(index, node) ? chain : undefined;
    const next = passedThrough(index, node);
    if (next === undefined) return undefined;
    name = next;
  }
  return undefined;
}

/** Whether a projection's second input is made of constants alone. */
function hasWeights(index: GraphIndex, node: Node): boolean {
  if (node.domain === MICROSOFT) return index.constant(node.input[1] ?? '') !== undefined;
  const seen = new Set<string>();
  const made = (name: string): boolean => {
    if (index.constant(name) || seen.has(name)) return true;
    seen.add(name);
    const node = index.producer(name);
    return node !== undefined && OF_WEIGHTS.has(node.opType) && node.input.every(made);
  };
  return made(node.input[1] ?? '');
}

/** The input that an elementwise node carries the logits through, undefined when it is not one of these. */
function passedThrough(index: GraphIndex, node: Node): string | undefined {
  if (UNARY.has(node.opType)) return node.input[0];
  if (!BINARY.has(node.opType)) return undefined;
  const other = node.input.findIndex((name) => {
    const constant = index.constant(name);
    return constant !== undefined && dimsOf(constant).length <= 1;
  });
  return other < 0 ? undefined : node.input[1 - other];
}
