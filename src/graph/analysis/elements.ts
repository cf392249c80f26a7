import { intAttribute } from '../onnx/attributes.js';
import type { Node } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import { numberAt } from '../onnx/tensors.js';
import { array, axisOf, broadcastSteps, type NumberArray, sizeOf, strides } from './arrays.js';
import { BROADCASTS, OPERATORS, permutation, sliced } from './evaluate-operators.js';

/** What an evaluator knows of values as wholes. */
export interface Wholes {
  dims(name: string): readonly number[];
  value(name: string): NumberArray;
  isInteger(name: string): boolean;
}

/** An element by its place in row-major order. */
type Element = (at: number) => number;

/** Operators that make each element of one element of each input. */
const UNARY = /^(Cast|Neg|Abs|Sqrt|Reciprocal|Not|IsNaN)$/;
/** Operators that keep the order of the elements. */
const KEEPS_ORDER = /^(Identity|Dropout|Reshape|Flatten|Unsqueeze|Squeeze)$/;

/** Values of at most this many elements are computed as wholes. */
export const WHOLE = 2 ** 12;
/** Elements that may be read for one value: nodes that branch and meet again read the same ones over and over. */
const MOST_READ = 2 ** 22;

/**
 * Computes a small part of a value that is too large to be made: each element from those that it is made of. Older versions of
 * transformers cut their masks from a table of every token by every other, after changing all of it.
 */
export class Elements {
  private readonly known = new Map<string, Element>();
  private read = 0;

  constructor(
    private readonly index: GraphIndex,
    private readonly wholes: Wholes,
  ) {}

  /** What a Slice or a Gather takes of a value. @throws Error with the reason when it cannot be computed */
  taken(node: Node): NumberArray {
    const [name = ''] = node.output;
    this.read = 0;
    const element = this.made(name, node);
    const result = array(this.wholes.dims(name), this.wholes.isInteger(node.input[0] ?? ''));
    for (let i = 0; i < result.data.length; i++) result.data[i] = element(i);
    return result;
  }

  private element(name: string): Element {
    const known = this.known.get(name);
    if (known) return known;
    const tensor = this.index.constant(name);
    const node = this.index.producer(name);
    let element: Element;
    if (tensor) {
      const stored = numberAt(tensor);
      if (!stored) throw new Error(`the content of "${tensor.name}" is not in the model`);
      element = stored;
    } else {
      const small = !node || sizeOf(this.wholes.dims(name)) <= WHOLE;
      element = small ? this.ofWhole(name) : this.made(name, node);
    }
    const counted: Element = (at) => {
      if (++this.read > MOST_READ) throw new Error('it takes too much computation');
      return element(at);
    };
    this.known.set(name, counted);
    return counted;
  }

  private made(name: string, node: Node): Element {
    const { opType } = node;
    const [first = ''] = node.input;
    const dims = this.wholes.dims(name);
    const numbers = (at: number) => {
      const input = node.input[at];
      return input ? [...this.wholes.value(input).data] : undefined;
    };
    if (KEEPS_ORDER.test(opType)) return this.element(first);
    if (BROADCASTS.test(opType) || UNARY.test(opType)) return this.pointwise(node, dims);
    const whole = this.wholes.dims(first);
    const own = strides(whole);
    switch (opType) {
      case 'Slice': {
        const { step, offset } = sliced(whole, numbers(1) ?? [], numbers(2) ?? [], numbers(3), numbers(4));
        return this.strided(first, dims, step, offset);
      }
      case 'Transpose': {
        const step = permutation(node, whole.length).map((axis) => own[axis]!);
        return this.strided(first, dims, step);
      }
      case 'Expand':
        return this.strided(first, dims, broadcastSteps(whole, dims));
      case 'Tile': {
        const repeats = numbers(1) ?? [];
        const wide = whole.flatMap((dim, i) => [repeats[i] ?? 1, dim]);
        return this.strided(
          first,
          wide,
          own.flatMap((step) => [0, step]),
        );
      }
      case 'Gather':
        return this.gathered(node, whole);
      case 'ScatterND':
        return this.scattered(node, dims);
      default:
        return this.ofWhole(name);
    }
  }

  private ofWhole(name: string): Element {
    const { data } = this.wholes.value(name);
    return (at) => data[at]!;
  }

  /** Elements at steps [rank of dims] from `start`. */
  private strided(name: string, dims: readonly number[], step: readonly number[], start = 0): Element {
    const element = this.element(name);
    return (at) => element(placeAt(at, dims, step, start));
  }

  /** By the operator's own definition, of one element of each input. */
  private pointwise(node: Node, dims: readonly number[]): Element {
    const operator = OPERATORS[node.opType];
    if (!operator) throw new Error(`it depends on node "${node.name}" (${node.opType})`);
    const inputs = node.input.map((name) => {
      const element = this.element(name);
      const step = broadcastSteps(this.wholes.dims(name), dims);
      const integer = this.wholes.isInteger(name);
      return (at: number): NumberArray => {
        return { dims: [], data: Float64Array.of(element(placeAt(at, dims, step, 0))), integer };
      };
    });
    return (at) =>
      operator(
        node,
        inputs.map((input) => input(at)),
      ).data[0]!;
  }

  private gathered(node: Node, whole: readonly number[]): Element {
    const [first = '', second = ''] = node.input;
    const axis = axisOf(intAttribute(node, 'axis', 0), whole.length);
    const { data } = this.wholes.value(second);
    const run = sizeOf(whole.slice(axis + 1));
    const size = whole[axis]!;
    const element = this.element(first);
    return (at) => {
      const row = Math.floor(at / run);
      const outer = Math.floor(row / data.length);
      return element((outer * size + indexWithin(data[row % data.length]!, size)) * run + (at % run));
    };
  }

  /** Writes one block of rows and columns over others, as an assignment to slices does: its indices are a list for each axis. */
  private scattered(node: Node, dims: readonly number[]): Element {
    const [first = '', indices = '', updates = ''] = node.input;
    const lists = this.listsOf(indices, this.wholes.dims(updates));
    if (lists?.length !== dims.length || node.attribute.length > 0) return this.ofWhole(node.output[0] ?? '');
    const places = lists.map((list, axis) => {
      return new Map(Array.from(list, (index, i) => [indexWithin(index, dims[axis]!), i]));
    });
    const [old, written] = [this.element(first), this.element(updates)];
    const own = strides(dims);
    const step = strides(this.wholes.dims(updates));
    const at = (place: number) => {
      let from = 0;
      for (let axis = 0; axis < dims.length; axis++) {
        const i = places[axis]!.get(Math.floor(place / own[axis]!) % dims[axis]!);
        if (i === undefined) return old(place);
        from += i * step[axis]!;
      }
      return written(from);
    };
    // Each layer takes its part of the same mask.
    const made = new Map<number, number>();
    return (place) => {
      const value = made.get(place) ?? at(place);
      made.set(place, value);
      return value;
    };
  }

  /**
   * The list for each axis whose combinations are the indices [...dims, axes]: each is repeated along the other axes, and they are
   * set side by side. Undefined when the indices are made in another way.
   */
  private listsOf(indices: string, dims: readonly number[]): Float64Array[] | undefined {
    const side = this.index.producer(indices);
    const lists: Float64Array[] = [];
    for (const [axis, name] of (side?.opType === 'Concat' ? side.input : []).entries()) {
      const expand = this.index.producer(this.index.producer(name)?.input[0] ?? '');
      const list = expand?.opType === 'Expand' ? (expand.input[0] ?? '') : '';
      if (!list || [...dims, 1].join() !== this.wholes.dims(name).join()) return undefined;
      const step = broadcastSteps(this.wholes.dims(list), dims);
      if (step.some((each, i) => (i === axis ? each !== 1 && dims[i] !== 1 : each !== 0))) return undefined;
      lists.push(this.wholes.value(list).data);
    }
    return lists;
  }
}

/** The place of the element `at` of an array of `dims` in another where its elements lie at these steps from `start`. */
function placeAt(at: number, dims: readonly number[], step: readonly number[], start: number): number {
  let place = start;
  let rest = at;
  for (let axis = dims.length - 1; axis >= 0; axis--) {
    place += (rest % dims[axis]!) * step[axis]!;
    rest = Math.floor(rest / dims[axis]!);
  }
  return place;
}

/** An index, which may count from the end. @throws RangeError where there is no such element */
function indexWithin(index: number, size: number): number {
  const place = index < 0 ? index + size : index;
  if (place >= 0 && place < size) return place;
  throw new RangeError(`the index ${index} is outside of the ${size} there are`);
}
