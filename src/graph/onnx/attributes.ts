import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AttributeProtoSchema } from './onnx.gen.js';
import { AttributeType, type Graph, type Node, type Tensor } from './onnx.js';

/** An attribute to write: a plain number is an ONNX int, `{ float }` a float; lists likewise. */
export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { float: number }
  | { floats: readonly number[] }
  | { tensor: Tensor }
  | { graph: Graph };

export function attributeInit(
  name: string,
  value: AttributeValue,
): MessageInitShape<typeof AttributeProtoSchema> {
  if (typeof value === 'number') return { name, type: AttributeType.INT, i: BigInt(value) };
  if (typeof value === 'string')
    return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) };
  if (isList(value)) return { name, type: AttributeType.INTS, ints: value.map(BigInt) };
  if ('float' in value) return { name, type: AttributeType.FLOAT, f: value.float };
  if ('floats' in value) return { name, type: AttributeType.FLOATS, floats: [...value.floats] };
  if ('tensor' in value) return { name, type: AttributeType.TENSOR, t: value.tensor };
  return { name, type: AttributeType.GRAPH, g: value.graph };
}

export function intAttribute(node: Node, name: string, fallback: number): number {
  const attribute = attributeOf(node, name);
  return attribute ? Number(attribute.i) : fallback;
}

export function floatAttribute(node: Node, name: string, fallback: number): number {
  const attribute = attributeOf(node, name);
  return attribute ? attribute.f : fallback;
}

export function stringAttribute(node: Node, name: string, fallback: string): string {
  const attribute = attributeOf(node, name);
  return attribute ? new TextDecoder().decode(attribute.s) : fallback;
}

export function attributeOf(node: Node, name: string) {
  return node.attribute.find((attribute) => attribute.name === name);
}

/** The graphs inside a node: the branches of an If, the body of a Loop or Scan. */
export function subgraphsOf(node: Node): Graph[] {
  const graphs: Graph[] = [];
  for (const attribute of node.attribute) {
    if (attribute.g) graphs.push(attribute.g);
    if (attribute.graphs.length > 0) graphs.push(...attribute.graphs);
  }
  return graphs;
}

function isList(value: AttributeValue): value is readonly number[] {
  return Array.isArray(value);
}
