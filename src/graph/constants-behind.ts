import type { NumberArray } from './arrays.js';
import { Evaluator } from './evaluate.js';
import type { Node } from './onnx.js';
import { type GraphIndex, topologicalOrder, usedNames } from './queries.js';
import { dimsOf, elementCount } from './tensors.js';

/** Constants up to here may be the size of a window; what is larger stands for infinity or for no end. */
const LARGEST_WINDOW = 2 ** 18;

/** Tensors of more elements are tables or weights, whose elements are no lengths. */
const MOST_LENGTHS = 16;

/** Nodes over constants alone are computed when none of these has more elements, nor what comes of it many more. */
const MOST_FOLDED = 2 ** 16;
const MOST_COMPUTED = 2 ** 22;

/** What the constants that a value is made of say of the lengths at which it may change. */
export interface ConstantsBehind {
  /** The largest number that could be a length, rounded up; 0 when there is none. */
  number: number;
  /** The largest dimension of the tables that it is cut from, 0 without one: no text can be longer than its table. */
  table: number;
}

const NONE: ConstantsBehind = { number: 0, table: 0 };

const known = new WeakMap<GraphIndex, Map<string, ConstantsBehind>>();

/** The constants that a value is made of, those among them that nodes make of other constants. */
export function constantsBehind(index: GraphIndex, value: string): ConstantsBehind {
  let all = known.get(index);
  if (!all) {
    all = constantsIn(index);
    known.set(index, all);
  }
  return all.get(value) ?? NONE;
}

/** The larger of each. */
export function largest(all: readonly ConstantsBehind[]): ConstantsBehind {
  return all.reduce(
    (most, { number, table }) => ({
      number: Math.max(most.number, number),
      table: Math.max(most.table, table),
    }),
    NONE,
  );
}

/** For every value of the graph, in one pass: decoders have thousands, and the mask of each layer is asked for. */
function constantsIn(index: GraphIndex): Map<string, ConstantsBehind> {
  const found = new Map<string, ConstantsBehind>();
  const folded = new Map<string, NumberArray>();
  const of = (name: string): ConstantsBehind => {
    let each = found.get(name);
    if (!each) {
      const tensor = index.constant(name);
      each = tensor ? ofConstant(dimsOf(tensor), () => index.constantNumbers(name)) : NONE;
      found.set(name, each);
    }
    return each;
  };
  for (const node of topologicalOrder(index.graph)) {
    if (node.opType === 'Constant') continue;
    const inputs = largest([...usedNames(node)].map(of));
    // Of a table or of weights, only a dimension is left.
    const made = node.opType === 'Shape' ? { ...inputs, table: 0 } : inputs;
    for (const output of node.output) found.set(output, made);
    const [output = ''] = node.output;
    const value = computed(index, folded, node);
    if (!value) continue;
    if (value.data.length <= MOST_FOLDED) folded.set(output, value);
    const { number, table } = ofConstant(value.dims, () => value.data);
    found.set(output, { number: Math.max(number, inputs.number), table });
  }
  return found;
}

function ofConstant(dims: readonly number[], numbers: () => ArrayLike<number> | undefined): ConstantsBehind {
  if (elementCount(dims) > MOST_LENGTHS) return { number: 0, table: Math.max(...dims) };
  const sizes = Array.from(numbers() ?? [], Math.abs).filter((size) => size < LARGEST_WINDOW);
  return { number: Math.ceil(Math.max(0, ...sizes)), table: 0 };
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
