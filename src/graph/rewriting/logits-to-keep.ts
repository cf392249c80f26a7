import { contractNames } from '../decoder.js';
import { subgraphsOf } from '../onnx/attributes.js';
import { GraphBuilder, shapeOf } from '../onnx/builder.js';
import {
  cloneModel,
  createNode,
  DataType,
  type Graph,
  graphOf,
  MICROSOFT,
  type Model,
  type Node,
  type Tensor,
  type ValueInfo,
} from '../onnx/onnx.js';
import { GraphIndex, topologicalOrder } from '../onnx/queries.js';
import { dimsOf } from '../onnx/tensors.js';

/** As transformers.js knows it: the number of last tokens to give logits for, 0 for all. */
const INPUT = 'num_logits_to_keep';

/** Operators that give each token its logits from that token alone. */
const PROJECTIONS = new Set([
  'MatMul',
  'FusedMatMul',
  'MatMulNBits',
  'MatMulInteger',
  'DynamicQuantizeMatMul',
]);
/** What turns the tokens of a FusedMatMul's first input, which then are not its second dimension or not rows of their own. */
const TURNS = /^trans(A|BatchA|BatchB)$/;
/** Operators that may stand between the weights of a projection and the projection. */
const OF_WEIGHTS = new Set(['Transpose', 'Cast', 'Identity', 'DequantizeLinear']);
const UNARY = new Set(['Cast', 'Identity', 'Tanh']);
const BINARY = new Set(['Add', 'Sub', 'Mul', 'Div']);

/**
 * Gives a decoder that projects every token onto the vocabulary the input `num_logits_to_keep` (int64, []), by a slice before
 * that projection: a prompt needs the logits of its last token only. In a decoder merged under If each branch is sliced. A
 * decoder that has the input, or whose logits do not come from a plain projection, is returned as it is; a changed one
 * is a copy.
 * @throws ElasticCacheError 'invalid-model' when there is a cycle
 */
export function withLogitsToKeep(original: Model): Model {
  const model = cloneModel(original);
  const graph = graphOf(model);
  graph.node = topologicalOrder(graph);
  const output = graph.output.find(({ name }) => name === contractNames.logits);
  if (!output || shapeOf(output)?.length !== 3) return original;
  if (graph.input.some(({ name }) => name === INPUT)) return original;
  const heads = logitsOf(graph);
  if (heads.length === 0) return original;
  const chains = heads.map(projection);
  if (chains.includes(undefined)) return original;

  const builder = new GraphBuilder(model);
  const last = builder.int64('one_token_axis', [1], [1]);
  const end = builder.int64('to_the_end', [1], [Number.MAX_SAFE_INTEGER]);
  // A start of -n leaves the last n tokens, and -0 is 0: the slice is then everything.
  const start = builder.op('Neg', [
    builder.op('Reshape', [builder.input(INPUT, DataType.INT64, []), builder.int64('one_number', [1], [1])]),
  ]);
  for (const [i, { graph, name }] of heads.entries()) {
    const chain = chains[i]!;
    const node = chain.at(-1)!;
    const kept = builder.fresh('last_tokens');
    const input = [node.input[0] ?? '', start, end, last];
    const slice = createNode({ opType: 'Slice', name: kept, input, output: [`${kept}/output_0`] });
    graph.node.splice(graph.node.indexOf(node), 0, slice);
    node.input[0] = slice.output[0]!;
    const sliced = new Set(chain.flatMap(({ output }) => output));
    graph.valueInfo = graph.valueInfo.filter(({ name }) => !sliced.has(name));
    renameLength(graph.output.find((output) => output.name === name));
  }
  renameLength(output);
  graph.node = topologicalOrder(graph);
  return model;
}

/** A graph that makes logits, and what they are called in it. */
interface Head {
  graph: Graph;
  name: string;
  index: GraphIndex;
  /** A constant of this graph or of the one around it. */
  constant: (name: string) => Tensor | undefined;
}

/** Where logits are made: in the graph itself or, where an If gives them, in each of its branches; empty when elsewhere. */
function logitsOf(graph: Graph): Head[] {
  const index = new GraphIndex(graph);
  const node = index.producer(contractNames.logits);
  if (node?.opType !== 'If')
    return [{ graph, name: contractNames.logits, index, constant: (name) => index.constant(name) }];
  if (index.consumers(contractNames.logits).length > 0) return [];
  const at = node.output.indexOf(contractNames.logits);
  return subgraphsOf(node).map((branch) => {
    const inner = new GraphIndex(branch);
    const constant = (name: string) => inner.constant(name) ?? index.constant(name);
    return { graph: branch, name: branch.output[at]?.name ?? '', index: inner, constant };
  });
}

function renameLength(output: ValueInfo | undefined): void {
  const length = output?.type?.tensorType?.shape?.dim[1];
  if (length) length.value = { case: 'dimParam', value: 'logits_length' };
}

/** The nodes from the one that makes the logits back to the projection, when each treats every token by itself. */
function projection({ graph, name: logits, index, constant }: Head): Node[] | undefined {
  const outputs = new Set(graph.output.map(({ name }) => name));
  const chain: Node[] = [];
  let name = logits;
  for (let node = index.producer(name); node; node = index.producer(name)) {
    // What else reads these values would get only the last tokens.
    const shared = name !== logits && (outputs.has(name) || index.consumers(name).length > 1);
    if (shared || index.consumers(logits).length > 0) return undefined;
    chain.push(node);
    if (PROJECTIONS.has(node.opType)) {
      const turned = node.attribute.some(({ name, i }) => TURNS.test(name) && i !== 0n);
      return !turned && hasWeights(index, constant, node) ? chain : undefined;
    }
    const next = passedThrough(index, constant, node);
    if (next === undefined) return undefined;
    name = next;
  }
  return undefined;
}

/** Whether a projection's second input is made of constants alone. */
function hasWeights(index: GraphIndex, constant: Head['constant'], node: Node): boolean {
  if (node.domain === MICROSOFT) return constant(node.input[1] ?? '') !== undefined;
  const seen = new Set<string>();
  const made = (name: string): boolean => {
    if (constant(name) || seen.has(name)) return true;
    seen.add(name);
    const node = index.producer(name);
    return node !== undefined && OF_WEIGHTS.has(node.opType) && node.input.every(made);
  };
  return made(node.input[1] ?? '');
}

/** The input that an elementwise node carries the logits through, undefined when it is not one of these. */
function passedThrough(index: GraphIndex, constant: Head['constant'], node: Node): string | undefined {
  if (UNARY.has(node.opType)) return node.input[0];
  if (!BINARY.has(node.opType)) return undefined;
  const other = node.input.findIndex((name) => servesAllTokens(index, constant, name));
  return other < 0 ? undefined : node.input[1 - other];
}

/** Whether a value is the same for every token: a constant, or the scales of int8 tokens, one for all of them, and weights. */
function servesAllTokens(index: GraphIndex, constant: Head['constant'], name: string): boolean {
  const known = (each: string) => {
    const tensor = constant(each);
    if (tensor) return dimsOf(tensor).length <= 1;
    const node = index.producer(each);
    return node?.opType === 'DynamicQuantizeLinear' && node.output[1] === each;
  };
  const node = index.producer(name);
  return known(name) || (node?.opType === 'Mul' && node.input.every(known));
}
