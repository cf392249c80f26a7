import { type GraphIndex, topologicalOrder, usedNames } from './queries.js';
import { dimsOf, elementCount } from './tensors.js';

/** Constants up to here may be the size of a window; what is larger stands for infinity or for no end. */
const LARGEST_WINDOW = 2 ** 18;

/** Tensors of more elements are weights, which are no lengths; values reach them through shapes of activations. */
const MOST_LENGTHS = 16;

const known = new WeakMap<GraphIndex, Map<string, number>>();

/** The largest constant that could be a length among those a value is made of, rounded up; 0 when there is none. */
export function largestConstant(index: GraphIndex, value: string): number {
  let lengths = known.get(index);
  if (!lengths) {
    lengths = lengthsIn(index);
    known.set(index, lengths);
  }
  return Math.ceil(lengths.get(value) ?? 0);
}

/** For every value of the graph, in one pass: decoders have thousands, and the mask of each layer is asked for. */
function lengthsIn(index: GraphIndex): Map<string, number> {
  const lengths = new Map<string, number>();
  const lengthOf = (name: string): number => {
    const found = lengths.get(name);
    if (found !== undefined) return found;
    const tensor = index.constant(name);
    const small = tensor && elementCount(dimsOf(tensor)) <= MOST_LENGTHS;
    const sizes = ((small && index.constantNumbers(name)) || []).map(Math.abs);
    const length = sizes.reduce((most, size) => (size > most && size < LARGEST_WINDOW ? size : most), 0);
    lengths.set(name, length);
    return length;
  };
  for (const node of topologicalOrder(index.graph)) {
    if (node.opType === 'Constant') continue;
    const names = [...usedNames(node)];
    const length = names.reduce((most, name) => Math.max(most, lengthOf(name)), 0);
    for (const output of node.output) lengths.set(output, length);
  }
  return lengths;
}
