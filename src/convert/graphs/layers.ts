import type { GraphBuilder, NodeOptions } from '../../graph/onnx/builder.js';
import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import { bytesOf } from '../../graph/onnx/tensors.js';
import { toHalf } from '../../half-floats.js';
import type { Activation } from '../checkpoint/llava/spec.js';
import type { OnnxFile } from '../writing/onnx-file.js';
import type { Bytes } from '../writing/passes.js';
import { halves, int4Blocks, int8Scales, int8Transposed, transposed } from './weights.js';

/**
 * How the weights of the matrix products are stored, and whether everything else, weights of `float` as well, is in half precision:
 * activations and caches, not what goes in and comes out otherwise. Else it is float32.
 */
export type WeightFormat =
  | { readonly kind: 'float'; readonly half?: boolean }
  | { readonly kind: 'int8'; readonly half?: false }
  | Int4Format;

interface Int4Format {
  readonly kind: 'int4';
  readonly blockSize: number;
  /** Whether a block has a zero point beside its scale. */
  readonly asymmetric?: boolean;
  readonly half?: boolean;
}

/** Reads a tensor of the checkpoint by its canonical name, as float32. */
export type ReadTensor = (name: string) => Promise<Float32Array>;

/** Reads numbers, or makes them; only where they are wanted. */
type MakeValues = () => Promise<Float32Array> | Float32Array;

/** The matrix of a linear layer, [outputs, inputs]. */
interface Weights {
  readonly name: string;
  readonly values: MakeValues;
  readonly outputs: number;
  readonly inputs: number;
}

/** The layers that vision tower and decoder are made of, added to one ONNX file. Activations are [batch, tokens, width]. */
export class Layers {
  /** The type of activations and caches. */
  readonly real: DataType;
  private readonly builder: GraphBuilder;
  private readonly constants = new Map<string, string>();
  private readonly quantized = new Map<string, { levels: string; largest: string }>();

  constructor(
    private readonly file: OnnxFile,
    private readonly read: ReadTensor,
    private readonly format: WeightFormat,
  ) {
    this.builder = file.builder;
    this.real = format.half ? DataType.FLOAT16 : DataType.FLOAT;
  }

  op(opType: string, inputs: readonly (string | undefined)[], options?: NodeOptions): string {
    return this.builder.op(opType, inputs, options);
  }

  /** The different numbers of `ids`, in ascending order, and for each of `ids` its index among them. */
  distinct(ids: string): string[] {
    const [known, , index] = this.builder.ops('Unique', [ids], { outputs: 3 });
    return [known!, index!];
  }

  /** float32 as activations are. */
  enter(x: string): string {
    return this.real === DataType.FLOAT ? x : this.op('Cast', [x], { attributes: { to: this.real } });
  }

  /** Activations as an output in float32. */
  leave(x: string, output: string): void {
    if (this.real === DataType.FLOAT) this.op('Identity', [x], { outputs: [output] });
    else this.op('Cast', [x], { attributes: { to: DataType.FLOAT }, outputs: [output] });
  }

  /** A tensor of the checkpoint [dims], with `added` to every number. */
  async tensor(name: string, dims: readonly number[], added = 0): Promise<string> {
    return this.write(name, dims, async () => {
      const values = await this.read(name);
      return [bytesOf(added === 0 ? values : values.map((value) => value + added))];
    });
  }

  /** A matrix of the checkpoint [rows or fewer, width] with empty rows after its own. */
  async table(name: string, rows: number, width: number): Promise<string> {
    return this.write(name, [rows, width], async () => {
      const values = await this.read(name);
      return [bytesOf(values), bytesOf(new Float32Array(rows * width - values.length))];
    });
  }

  async floats(hint: string, dims: readonly number[], make: MakeValues): Promise<string> {
    return this.write(hint, dims, async () => [bytesOf(await make())]);
  }

  /** float32 whatever the activations are. */
  async float32(hint: string, dims: readonly number[], make: MakeValues): Promise<string> {
    return this.file.write(hint, DataType.FLOAT, dims, 4 * countOf(dims), async () => [
      bytesOf(await make()),
    ]);
  }

  /** Numbers [dims] in the type of activations, from pieces of float32. */
  private write(hint: string, dims: readonly number[], pieces: Bytes): Promise<string> {
    if (this.real === DataType.FLOAT) {
      return this.file.write(hint, this.real, dims, 4 * countOf(dims), pieces);
    }
    return this.file.write(hint, this.real, dims, 2 * countOf(dims), async () =>
      halves(hint, await pieces()),
    );
  }

  int64(...values: number[]): string {
    return this.constant(`int64:${values}`, () => this.builder.int64('ints', [values.length], values));
  }

  scalar(value: number): string {
    return this.constant(`float:${value}`, () =>
      this.real === DataType.FLOAT
        ? this.builder.float32('scalar', [], [value])
        : this.builder.raw('scalar', this.real, [], bytesOf(Uint16Array.of(toHalf(value)))),
    );
  }

  /** `x` times the transpose of the checkpoint's matrix `<prefix>.weight` [outputs, inputs], plus `<prefix>.bias` if asked for. */
  async linear(
    x: string,
    prefix: string,
    [outputs, inputs]: readonly [number, number],
    bias = false,
  ): Promise<string> {
    const name = `${prefix}.weight`;
    const product = await this.times(x, { name, values: () => this.read(name), outputs, inputs });
    return bias ? this.op('Add', [product, await this.tensor(`${prefix}.bias`, [outputs])]) : product;
  }

  /** `x` times the checkpoint's matrix `name` [inputs, outputs] as it is. */
  async product(x: string, name: string, [inputs, outputs]: readonly [number, number]): Promise<string> {
    const values = async () => {
      const strips = [...transposed(await this.read(name), inputs, outputs)];
      return new Float32Array(Uint8Array.from(Buffer.concat(strips)).buffer);
    };
    return this.times(x, { name, values, outputs, inputs });
  }

  async layerNorm(x: string, prefix: string, width: number, epsilon: number): Promise<string> {
    const scale = await this.tensor(`${prefix}.weight`, [width]);
    const bias = await this.tensor(`${prefix}.bias`, [width]);
    return this.op('LayerNormalization', [x, scale, bias], {
      attributes: { axis: -1, epsilon: { float: epsilon } },
    });
  }

  activation(x: string, kind: Activation): string {
    if (kind !== 'quick_gelu') {
      const approximate = kind === 'gelu_pytorch_tanh' ? 'tanh' : 'none';
      return this.op('Gelu', [x], { attributes: { approximate } });
    }
    return this.op('Mul', [x, this.op('Sigmoid', [this.op('Mul', [x, this.scalar(1.702)])])]);
  }

  private async times(x: string, weights: Weights): Promise<string> {
    const { name, values, outputs, inputs } = weights;
    switch (this.format.kind) {
      case 'float': {
        const matrix = await this.write(name, [inputs, outputs], async () =>
          transposed(await values(), outputs, inputs),
        );
        return this.op('MatMul', [x, matrix]);
      }
      case 'int8':
        return this.int8Product(x, weights);
      case 'int4':
        return this.int4Product(x, weights, this.format);
    }
  }

  /** Weights in blocks of 4-bit numbers along the inputs, each with a scale and, where asked for, a zero point. */
  private async int4Product(
    x: string,
    { name, values, outputs, inputs }: Weights,
    { blockSize, asymmetric = false }: Int4Format,
  ): Promise<string> {
    const blocks = Math.ceil(inputs / blockSize);
    const made = once(async () => int4Blocks(await values(), outputs, inputs, { blockSize, asymmetric }));
    const bytes = (hint: string, dims: readonly number[], part: 'data' | 'zeros') =>
      this.file.write(hint, DataType.UINT8, dims, countOf(dims), async () => [(await made())[part]]);
    const levels = await bytes(`${name}_q4`, [outputs, blocks, blockSize / 2], 'data');
    const scales = await this.floats(`${name}_scales`, [outputs * blocks], async () => (await made()).scales);
    const zeros = asymmetric
      ? [await bytes(`${name}_zeros`, [outputs * Math.ceil(blocks / 2)], 'zeros')]
      : [];
    return this.op('MatMulNBits', [x, levels, scales, ...zeros], {
      domain: MICROSOFT,
      attributes: { K: inputs, N: outputs, bits: 4, block_size: blockSize, accuracy_level: 4 },
    });
  }

  /**
   * Weights in int8, one scale per output; activations in uint8 around 128, one scale per *token*. DynamicQuantizeLinear
   * would take one scale for the whole prompt, which a single outlying token spoils for all the others.
   */
  private async int8Product(x: string, { name, values, outputs, inputs }: Weights): Promise<string> {
    const own = once(values);
    const scales = once(async () => int8Scales(await own(), outputs, inputs));
    const matrix = await this.file.write(
      `${name}_q8`,
      DataType.INT8,
      [inputs, outputs],
      inputs * outputs,
      async () => int8Transposed(await own(), outputs, inputs, await scales()),
    );
    const weightScales = await this.float32(`${name}_scales`, [outputs], async () =>
      (await scales()).map((scale) => scale / 127),
    );
    const { levels, largest } = this.quantize(x);
    const zero = this.constant('uint8 zero', () => this.builder.uint8('uint8_zero', [], Uint8Array.of(128)));
    const sums = this.op('Cast', [this.op('MatMulInteger', [levels, matrix, zero])], {
      attributes: { to: DataType.FLOAT },
    });
    return this.op('Mul', [this.op('Mul', [sums, weightScales]), largest]);
  }

  /** The activations in uint8, 128 meaning zero, with each token's largest magnitude [batch, tokens, 1]; shared by all products of `x`. */
  private quantize(x: string): { levels: string; largest: string } {
    const known = this.quantized.get(x);
    if (known) return known;
    const magnitude = this.op('ReduceMax', [this.op('Abs', [x]), this.int64(-1)], {
      attributes: { keepdims: 1 },
    });
    const largest = this.op('Max', [magnitude, this.scalar(1e-30)]);
    const scaled = this.op('Mul', [x, this.op('Div', [this.scalar(127), largest])]);
    // The cast cuts the fraction off, so half a step more rounds.
    const levels = this.op('Cast', [this.op('Add', [scaled, this.scalar(128.5)])], {
      attributes: { to: DataType.UINT8 },
    });
    this.quantized.set(x, { levels, largest });
    return { levels, largest };
  }

  private constant(key: string, make: () => string): string {
    const name = this.constants.get(key) ?? make();
    this.constants.set(key, name);
    return name;
  }
}

const countOf = (dims: readonly number[]) => dims.reduce((product, dim) => product * dim, 1);

/** What `make` gives, made when it is first asked for and kept. */
function once<T>(make: () => T | Promise<T>): () => T | Promise<T> {
  let made: T | Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
