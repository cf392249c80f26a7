import { reasonOf } from '../../errors.js';
import { attributeOf, intAttribute } from '../onnx/attributes.js';
import { DataType, type Node, type Tensor } from '../onnx/onnx.js';
import type { GraphIndex } from '../onnx/queries.js';
import { dimsOf, tensorNumbers } from '../onnx/tensors.js';
import {
  array,
  axisOf,
  broadcastDims,
  elementwise,
  type NumberArray,
  reshapedDims,
  sizeOf,
} from './arrays.js';
import { Elements, WHOLE } from './elements.js';
import {
  BROADCASTS,
  isInteger,
  OPERATORS,
  permutation,
  rangeLength,
  sliced,
  squeezed,
  unsqueezed,
} from './evaluate-operators.js';

/** Nodes whose first output has the shape of their first input. */
const KEEPS_SHAPE =
  /^(Cast|CastLike|Identity|Neg|Cos|Sin|Sqrt|Reciprocal|Sigmoid|Tanh|Relu|Erf|Gelu|FastGelu|QuickGelu|Exp|Abs|Clip|Softmax|(Skip)?SimplifiedLayerNormalization|(Skip)?LayerNormalization|RMSNormalization|RotaryEmbedding|Attention|MultiHeadAttention|Dropout|Trilu|CumSum|ScatterND|QuantizeLinear|DequantizeLinear)$/;
/** Other nodes that may make more elements than they read. */
const GROWS = /^(Expand|Tile|ConstantOfShape|Range|Concat|Gather)$/;

/** Nodes that make integers or booleans of whatever they read. */
const MAKES_INTEGERS =
  /^(Shape|Size|ArgMax|Equal|Less|LessOrEqual|Greater|GreaterOrEqual|And|Or|Xor|Not|IsNaN|IsInf|NonZero)$/;

/** More elements than any decoder's masks take at all layers together. */
const MOST_COMPUTED = 2 ** 25;
/** How many times more elements a value has than are taken of it where it is not made as a whole. */
const MUCH_MORE = 8;
/** Larger arrays are kept only when several nodes read them: a long mask of every head and layer would fill the memory. */
const KEPT_ELEMENTS = 2 ** 16;

/**
 * Computes small parts of a graph (masks, lengths, repeated heads) from given values and shapes: what a mask means is
 * asked by trying it at several sizes, whatever nodes the exporter wrote it with.
 */
export class Evaluator {
  private readonly failures = new Map<string, unknown>();
  private readonly values = new Map<string, NumberArray>();
  private readonly shapes = new Map<string, readonly number[]>();
  private readonly elements: Elements;

  /**
   * @param values what graph inputs or inner values hold
   * @param shapes the dimensions of values that have no known content
   * @param left elements that may be computed: a damaged graph may ask for any number
   */
  constructor(
    private readonly index: GraphIndex,
    values: Readonly<Record<string, NumberArray>>,
    shapes: Readonly<Record<string, readonly number[]>>,
    private left = MOST_COMPUTED,
  ) {
    this.elements = new Elements(index, this);
    for (const [name, value] of Object.entries(values)) this.values.set(name, value);
    this.declare(shapes);
  }

  /** Adds the dimensions of values that have no known content. */
  declare(shapes: Readonly<Record<string, readonly number[]>>): void {
    for (const [name, dims] of Object.entries(shapes)) this.shapes.set(name, dims);
  }

  /** The content of a value. @throws Error with the reason when it cannot be computed. */
  value(name: string): NumberArray {
    const known = this.values.get(name);
    if (known) return known;
    if (this.failures.has(name)) throw this.failures.get(name);
    let value: NumberArray;
    try {
      value = this.compute(name);
      this.left -= value.data.length;
      this.refuseMoreThanLeft(0);
    } catch (cause) {
      this.failures.set(name, cause);
      throw cause;
    }
    this.shapes.set(name, value.dims);
    if (value.data.length <= KEPT_ELEMENTS || this.index.consumers(name).length > 1)
      this.values.set(name, value);
    return value;
  }

  /** The dimensions of a value. @throws Error with the reason when they cannot be computed. */
  dims(name: string): readonly number[] {
    const known = this.values.get(name)?.dims ?? this.shapes.get(name);
    if (known) return known;
    const dims = this.computeDims(name);
    this.shapes.set(name, dims);
    return dims;
  }

  private compute(name: string): NumberArray {
    const tensor = this.index.constant(name);
    if (tensor) return constantArray(tensor);
    const node = this.index.producer(name);
    if (!node) throw new Error(`it depends on what "${name}" holds`);
    if (node.opType === 'Shape') {
      const dims = this.dims(node.input[0] ?? '');
      const start = intAttribute(node, 'start', 0);
      const end = intAttribute(node, 'end', dims.length);
      const part = dims.slice(start, end);
      return array([part.length], true, part);
    }
    if (this.takesLittle(node)) return this.elements.taken(node);
    if (node.opType === 'CastLike') {
      // Of the second only its type matters, which may be that of activations.
      const [from = '', like = ''] = node.input;
      const integer = this.isInteger(like);
      return elementwise([this.value(from)], integer, integer ? Math.trunc : (number) => number);
    }
    const operator = node.domain === '' ? OPERATORS[node.opType] : undefined;
    if (!operator || node.output[0] !== name) {
      throw new Error(`it depends on node "${node.name}" (${node.opType})`);
    }
    // Each input once, also one that is not kept and that the node reads twice.
    const read = new Map(
      [...new Set(node.input)].map((input) => [input, input ? this.value(input) : undefined]),
    );
    const inputs = node.input.map((input) => read.get(input));
    try {
      if (BROADCASTS.test(node.opType) || GROWS.test(node.opType))
        this.refuseMoreThanLeft(sizeOf(this.dims(name)));
      return operator(node, inputs as NumberArray[]);
    } catch (cause) {
      throw new Error(`node "${node.name}" (${node.opType}) cannot be computed: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }

  /** Asked before elements are made as well: their number may be any. */
  private refuseMoreThanLeft(elements: number): void {
    if (elements > this.left) throw new Error('it takes too much computation');
  }

  /** Whether a node takes so little of so much that what it takes is computed alone. */
  private takesLittle({ opType, input, output }: Node): boolean {
    if (!/^(Slice|Gather)$/.test(opType)) return false;
    const [whole, taken] = [input[0], output[0]].map((name) => sizeOf(this.dims(name ?? '')));
    return whole! > WHOLE && taken! <= KEPT_ELEMENTS && MUCH_MORE * taken! < whole!;
  }

  /** Whether a value, known or not, holds integers or booleans. */
  isInteger(name: string): boolean {
    const known = this.values.get(name);
    if (known) return known.integer;
    const input = this.index.graph.input.find((each) => each.name === name);
    const type = this.index.constant(name)?.dataType ?? input?.type?.tensorType?.elemType;
    if (type !== undefined) return isInteger(type);
    const node = this.index.producer(name);
    if (!node) return false;
    if (node.opType === 'Cast') return isInteger(intAttribute(node, 'to', DataType.FLOAT));
    if (MAKES_INTEGERS.test(node.opType)) return true;
    const like = /^(Where|CastLike)$/.test(node.opType) ? node.input[1] : node.input[0];
    return this.isInteger(like ?? '');
  }

  private computeDims(name: string): readonly number[] {
    const tensor = this.index.constant(name);
    if (tensor) return dimsOf(tensor);
    const node = this.index.producer(name);
    if (!node) throw new Error(`it depends on the shape of "${name}"`);
    const first = () => this.dims(node.input[0] ?? '');
    const numbers = (at: number) => [...this.value(node.input[at] ?? '').data];
    if (KEEPS_SHAPE.test(node.opType)) return first();
    if (BROADCASTS.test(node.opType))
      return node.input.map((input) => this.dims(input)).reduce(broadcastDims);
    switch (node.opType) {
      case 'MatMul':
      case 'MatMulInteger':
        return [...first().slice(0, -1), this.dims(node.input[1] ?? '').at(-1)!];
      case 'FusedMatMul':
      case 'FusedGemm':
      case 'Gemm': {
        const turned = (name: string) => intAttribute(node, name, 0) !== 0;
        const second = this.dims(node.input[1] ?? '');
        const columns = second.at(turned('transB') ? -2 : -1)!;
        return [...first().slice(0, -2), first().at(turned('transA') ? -1 : -2)!, columns];
      }
      case 'DynamicQuantizeLinear':
        // Its scale and zero point are single numbers.
        return node.output[0] === name ? first() : [];
      case 'MatMulNBits':
        return [...first().slice(0, -1), intAttribute(node, 'N', 0)];
      case 'Transpose':
        return permutation(node, first().length).map((axis) => first()[axis]!);
      case 'Reshape':
        return reshapedDims(first(), numbers(1), intAttribute(node, 'allowzero', 0) === 1);
      case 'Expand':
        return broadcastDims(first(), numbers(1));
      case 'Tile':
        return first().map((dim, i) => dim * numbers(1)[i]!);
      case 'ConstantOfShape':
        return numbers(0);
      case 'Range':
        return [rangeLength(numbers(0)[0]!, numbers(1)[0]!, numbers(2)[0]!)];
      case 'Unsqueeze':
        return unsqueezed(first(), numbers(1));
      case 'Squeeze':
        return squeezed(first(), node.input[1] ? numbers(1) : []);
      case 'Concat': {
        const all = node.input.map((input) => this.dims(input));
        const dims = all[0]!.slice();
        const axis = axisOf(intAttribute(node, 'axis', 0), dims.length);
        dims[axis] = all.reduce((sum, each) => sum + each[axis]!, 0);
        return dims;
      }
      case 'Slice': {
        const [starts, ends, axes, steps] = [1, 2, 3, 4].map((at) =>
          node.input[at] ? numbers(at) : undefined,
        );
        return sliced(first(), starts!, ends!, axes, steps).dims;
      }
      case 'Split': {
        const dims = first().slice();
        const axis = axisOf(intAttribute(node, 'axis', 0), dims.length);
        const at = node.output.indexOf(name);
        const even = Math.ceil(dims[axis]! / node.output.length);
        dims[axis] = node.input[1] ? numbers(1)[at]! : Math.min(even, dims[axis]! - at * even);
        return dims;
      }
      case 'ReduceMean': {
        const axes = node.input[1] ? numbers(1) : attributeOf(node, 'axes')?.ints.map(Number);
        const reduced = new Set(axes?.map((axis) => axisOf(axis, first().length)) ?? first().keys());
        const kept = first().map((dim, axis) => (reduced.has(axis) ? 1 : dim));
        return intAttribute(node, 'keepdims', 1) === 1 ? kept : kept.filter((_, axis) => !reduced.has(axis));
      }
      case 'Gather':
        return gathered(first(), this.dims(node.input[1] ?? ''), intAttribute(node, 'axis', 0));
      case 'GatherBlockQuantized': {
        // Rows of a quantised embedding; in bytes, several numbers of few bits are packed into one.
        const bytes = this.index.constant(node.input[0] ?? '')?.dataType === DataType.UINT8;
        const packed = bytes ? 8 / intAttribute(node, 'bits', 4) : 1;
        const rows = first();
        const whole = rows.with(-1, rows.at(-1)! * packed);
        return gathered(whole, this.dims(node.input[1] ?? ''), intAttribute(node, 'gather_axis', 0));
      }
      default:
        return this.value(name).dims;
    }
  }
}

function gathered(dims: readonly number[], indices: readonly number[], axis: number): number[] {
  const at = axisOf(axis, dims.length);
  return [...dims.slice(0, at), ...indices, ...dims.slice(at + 1)];
}

function constantArray(tensor: Tensor): NumberArray {
  const numbers = tensorNumbers(tensor);
  if (!numbers) throw new Error(`the content of "${tensor.name}" is not in the model`);
  return array(dimsOf(tensor), isInteger(tensor.dataType), numbers);
}
