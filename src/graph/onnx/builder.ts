import { create } from '@bufbuild/protobuf';
import { ElasticCacheError } from '../../errors.js';
import { type AttributeValue, attributeInit } from './attributes.js';
import { OperatorSetIdProtoSchema, ValueInfoProtoSchema } from './onnx.gen.js';
import {
  createModel,
  createNode,
  type DataType,
  type Graph,
  graphOf,
  type Model,
  type Node,
  type Tensor,
  type ValueInfo,
} from './onnx.js';
import { namesIn } from './queries.js';
import {
  type ExternalData,
  externalTensor,
  float32Tensor,
  int32Tensor,
  int64Tensor,
  rawTensor,
  uint8Tensor,
} from './tensors.js';

/** A size, or the name of a size that is known only when the model runs. */
export type Dim = number | string;

export interface NodeOptions {
  /** '' for ONNX's own operators; 'com.microsoft' for ONNX Runtime's. */
  domain?: string;
  attributes?: Readonly<Record<string, AttributeValue>>;
  /** The node's name; fresh when absent. */
  name?: string;
  /** Names of the outputs, or how many to name afresh: 1 when absent. */
  outputs?: number | readonly string[];
}

/** Adds to an ONNX graph: nodes, initializers, inputs and outputs, under names that nothing else in it has. */
export class GraphBuilder {
  readonly graph: Graph;
  /** Shared with the branches: a value of theirs may have no name that the outer graph uses before or after. */
  private taken: Set<string>;
  /** The number of the latest name that a hint was given. */
  private latest = new Map<string, number>();

  /** @param model the model to add to; it is changed in place. */
  constructor(readonly model: Model) {
    this.graph = graphOf(model);
    this.taken = namesIn(this.graph);
  }

  /** Starts an empty model. `opsets` maps a domain to its version, for instance `{ '': 21, 'com.microsoft': 1 }`. */
  static create(name: string, opsets: Readonly<Record<string, number>>, irVersion = 10): GraphBuilder {
    return new GraphBuilder(
      createModel({
        irVersion: BigInt(irVersion),
        producerName: 'elastic-cache',
        graph: { name },
        opsetImport: Object.entries(opsets).map(([domain, version]) => ({
          domain,
          version: BigInt(version),
        })),
      }),
    );
  }

  /** A builder of a graph inside a node, a branch of an If: it reads the values of this one and takes none of its names. */
  branch(name: string): GraphBuilder {
    const inner = GraphBuilder.create(this.fresh(name), {});
    inner.taken = this.taken;
    inner.latest = this.latest;
    inner.model.opsetImport.push(...this.model.opsetImport);
    return inner;
  }

  /** A name that nothing in the graph has: `hint`, or `hint` with a number. */
  fresh(hint: string): string {
    let name = hint;
    let number = this.latest.get(hint) ?? 0;
    while (this.taken.has(name)) name = `${hint}_${++number}`;
    this.latest.set(hint, number);
    this.taken.add(name);
    return name;
  }

  /** Imports an operator set unless the model has one of that domain already. */
  importOpset(domain: string, version: number): void {
    if (this.model.opsetImport.some((entry) => (entry.domain || '') === domain)) return;
    this.model.opsetImport.push(create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) }));
  }

  /** Adds a node with one output and returns the output's name. An undefined input is an absent optional one. */
  op(opType: string, inputs: readonly (string | undefined)[], options: NodeOptions = {}): string {
    return this.ops(opType, inputs, options)[0]!;
  }

  /** Adds a node and returns the names of its outputs. */
  ops(opType: string, inputs: readonly (string | undefined)[], options: NodeOptions = {}): string[] {
    const node = this.makeNode(opType, inputs, options);
    this.graph.node.push(node);
    return [...node.output];
  }

  /** Adds the largest along one axis, which goes away. Operator set 18 made the axis an input. */
  reduceMax(input: string, axis: number): string {
    const opset = this.model.opsetImport.find(({ domain }) => (domain || 'ai.onnx') === 'ai.onnx');
    if (Number(opset?.version ?? 1) < 18) {
      return this.op('ReduceMax', [input], { attributes: { axes: [axis], keepdims: 0 } });
    }
    return this.op('ReduceMax', [input, this.int64('axis', [1], [axis])], { attributes: { keepdims: 0 } });
  }

  /** Adds a node like another, over other inputs, and returns its first output's name. */
  copy({ opType, domain, output, attribute }: Node, inputs: readonly string[]): string {
    const node = this.makeNode(opType, inputs, { domain, outputs: output.length });
    node.attribute.push(...attribute);
    this.graph.node.push(node);
    return node.output[0]!;
  }

  private makeNode(opType: string, inputs: readonly (string | undefined)[], options: NodeOptions): Node {
    const name = options.name ?? this.fresh(opType);
    const outputs = options.outputs ?? 1;
    return createNode({
      opType,
      name,
      domain: options.domain ?? '',
      input: inputs.map((input) => input ?? ''),
      output:
        typeof outputs === 'number'
          ? Array.from({ length: outputs }, (_, i) => this.fresh(`${name}/output_${i}`))
          : [...outputs],
      attribute: Object.entries(options.attributes ?? {}).map(([key, value]) => attributeInit(key, value)),
    });
  }

  float32(hint: string, dims: readonly number[], values: ArrayLike<number>): string {
    return this.initializer(float32Tensor(this.fresh(hint), dims, values));
  }

  int64(hint: string, dims: readonly number[], values: ArrayLike<number>): string {
    return this.initializer(int64Tensor(this.fresh(hint), dims, values));
  }

  int32(hint: string, dims: readonly number[], values: ArrayLike<number>): string {
    return this.initializer(int32Tensor(this.fresh(hint), dims, values));
  }

  uint8(hint: string, dims: readonly number[], values: Uint8Array): string {
    return this.initializer(uint8Tensor(this.fresh(hint), dims, values));
  }

  /** An initializer from the little-endian bytes of any type, float16 for instance. */
  raw(hint: string, dataType: DataType, dims: readonly number[], bytes: Uint8Array): string {
    return this.initializer(rawTensor(this.fresh(hint), dataType, dims, bytes));
  }

  /** An initializer whose bytes lie in another file. */
  external(hint: string, dataType: DataType, dims: readonly number[], data: ExternalData): string {
    return this.initializer(externalTensor(this.fresh(hint), dataType, dims, data));
  }

  /** Adds a tensor made elsewhere, under the name it has. */
  initializer(tensor: Tensor): string {
    this.taken.add(tensor.name);
    this.graph.initializer.push(tensor);
    return tensor.name;
  }

  input(name: string, elemType: DataType, shape: readonly Dim[]): string {
    if (this.graph.input.some((value) => value.name === name)) {
      throw new ElasticCacheError('unsupported-graph', `The graph has an input "${name}" already.`);
    }
    this.taken.add(name);
    this.graph.input.push(valueInfo(name, elemType, shape));
    return name;
  }

  /** @param shape left out where it is not known */
  output(name: string, elemType: DataType, shape?: readonly Dim[]): string {
    this.taken.add(name);
    this.graph.output.push(valueInfo(name, elemType, shape));
    return name;
  }
}

/** The declaration of a tensor: its name, element type and shape [dims], where that is known. */
export function valueInfo(name: string, elemType: DataType, shape?: readonly Dim[]): ValueInfo {
  return create(ValueInfoProtoSchema, {
    name,
    type: {
      tensorType: {
        elemType,
        ...(shape && {
          shape: {
            dim: shape.map((dim) => ({
              value:
                typeof dim === 'number'
                  ? { case: 'dimValue' as const, value: BigInt(dim) }
                  : { case: 'dimParam' as const, value: dim },
            })),
          },
        }),
      },
    },
  });
}

/** The declared shape of a value, undefined when it has none; an unnamed unknown size is ''. */
export function shapeOf(value: ValueInfo): Dim[] | undefined {
  return value.type?.tensorType?.shape?.dim.map(({ value: dim }) =>
    dim.case === 'dimValue' ? Number(dim.value) : (dim.value ?? ''),
  );
}
