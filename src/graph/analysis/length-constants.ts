import type { Node } from '../onnx/onnx.js';
import { type GraphIndex, topologicalOrder, usedNames } from '../onnx/queries.js';
import { dimsOf, elementCount } from '../onnx/tensors.js';
import type { NumberArray } from './arrays.js';
import { Evaluator } from './evaluate.js';
import { isInteger } from './evaluate-operators.js';

/** Constants up to here may be the size of a window; what is larger stands for infinity or for no end. */
const LARGEST_WINDOW = 2 ** 18;

/** The least number of float16, what masks of that type hide a score with, whatever type it was cast to. */
const LEAST_HALF = -65504;

/** Tensors of more elements are tables or weights, whose elements are no lengths. */
const MOST_LENGTHS = 16;

/** Nodes over constants alone are computed when none of these has more elements, nor what comes of it many more. */
const MOST_FOLDED = 2 ** 16;
const MOST_COMPUTED = 2 ** 22;

/** What the constants that a value is made of say of the lengths at which it may change. */
export interface LengthConstants {
  /** The largest number that could be a length, rounded up; 0 when there is none. */
  number: number;
  /** The dimensions over 1 of the tables that it is cut from, each once, the largest first: no text can be longer than its table. */
  tables: readonly number[];
}

const NONE: LengthConstants = { number: 0, tables: [] };

/** What is known of a graph's values so far. */
interface Known {
  order: readonly Node[];
  found: Map<string, LengthConstants>;
  folded: Map<string, NumberArray>;
}

const known = new WeakMap<GraphIndex, Known>();

/** The constants that a value is made of, those among them that nodes make of other constants. */
export function lengthConstants(index: GraphIndex, value: string): LengthConstants {
  const graph = known.get(index) ?? {
    order: topologicalOrder(index.graph),
    found: new Map(),
    folded: new Map(),
  };
  known.set(index, graph);
  const nodes = nodesBehind(index, graph, value);
  if (nodes.size > 0) for (const node of graph.order) if (nodes.has(node)) add(index, graph, node);
  return behind(index, graph, value);
}

/** The constants behind any of several values. */
export function united(all: readonly LengthConstants[]): LengthConstants {
  const number = Math.max(0, ...all.map((each) => each.number));
  const tables = new Set(all.flatMap((each) => each.tables));
  return { number, tables: [...tables].sort((a, b) => b - a) };
}

/** The nodes that a value is made by and of which nothing is known yet. */
function nodesBehind(index: GraphIndex, { found }: Known, value: string): Set<Node> {
  const nodes = new Set<Node>();
  const names = new Set([value]);
  for (const name of names) {
    const node = index.producer(name);
    if (!node || found.has(name) || nodes.has(node)) continue;
    nodes.add(node);
    for (const each of usedNames(node)) names.add(each);
  }
  return nodes;
}

function behind(index: GraphIndex, { found }: Known, name: string): LengthConstants {
  const earlier = found.get(name);
  if (earlier) return earlier;
  const tensor = index.constant(name);
  const constants = tensor
    ? ofConstant(dimsOf(tensor), () => index.constantNumbers(name), isInteger(tensor.dataType))
    : NONE;
  found.set(name, constants);
  return constants;
}

function add(index: GraphIndex, graph: Known, node: Node): void {
  const { found, folded } = graph;
  if (node.opType === 'Constant') return;
  const inputs = united([...usedNames(node)].map((name) => behind(index, graph, name)));
  // Of a table or of weights, only a dimension is left.
  const made = node.opType === 'Shape' ? { ...inputs, tables: [] } : inputs;
  for (const output of node.output) found.set(output, made);
  const [output = ''] = node.output;
  const value = computed(index, folded, node);
  if (!value) return;
  if (value.data.length <= MOST_FOLDED) folded.set(output, value);
  const { number, tables } = ofConstant(value.dims, () => value.data, value.integer);
  found.set(output, { number: Math.max(number, inputs.number), tables });
}

function ofConstant(
  dims: readonly number[],
  numbers: () => ArrayLike<number> | undefined,
  integer: boolean,
): LengthConstants {
  if (elementCount(dims) > MOST_LENGTHS)
    return united([{ number: 0, tables: dims.filter((dim) => dim > 1) }]);
  const sizes = Array.from(numbers() ?? [])
    .filter((number) => integer || number !== LEAST_HALF)
    .map(Math.abs)
    .filter((size) => size < LARGEST_WINDOW);
  return { number: Math.ceil(Math.max(0, ...sizes)), tables: [] };
}

/** What a node makes of constants alone; undefined when it reads anything else, or too much. */
function computed(
  index: GraphIndex,
  folded: ReadonlyMap<string, NumberArray>,
  node: Node,
): NumberArray | undefined {
  const values: Record<string, NumberArray> = {};
  for (const name of usedNames(node)) {
    const value = folded.get(name);
    const tensor = index.constant(name);
    if (value) values[name] = value;
    else if (!tensor || elementCount(dimsOf(tensor)) > MOST_FOLDED) return undefined;
  }
  if (node.input.length === 0) return undefined;
  try {
    return new Evaluator(index, values, {}, MOST_COMPUTED).value(node.output[0] ?? '');
  } catch {
    // What the operator makes is not known here, no more than the content of a tensor beside the model.
    return undefined;
  }
}
