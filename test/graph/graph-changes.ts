import { clone } from '@bufbuild/protobuf';
import { NodeProtoSchema } from '../../src/graph/onnx/onnx.gen.js';
import { type Graph, graphOf, type Model, type Node } from '../../src/graph/onnx/onnx.js';

/** Draws a whole number from 0 to below `count`. */
export type Draw = (count: number) => number;
type Change = (graph: Graph, draw: Draw) => void;

const SIZES = [-1n, 0n, 1n, 3n, 2n ** 31n - 1n, 2n ** 40n, -(2n ** 63n), 2n ** 63n - 1n];

/** Ways to spoil a graph that is well-formed protobuf. Each is made one to five times. */
export const CHANGES: Record<string, Change> = {
  'inputs taken from anywhere, cycles among them': (graph, draw) => {
    const node = any(graph.node, draw);
    const names = graph.node.flatMap(({ output }) => output);
    if (node && node.input.length > 0) node.input[draw(node.input.length)] = any(names, draw) ?? '';
  },
  'inputs that are missing': (graph, draw) => {
    const node = any(graph.node, draw);
    if (!node) return;
    if (draw(2) === 0) node.input.splice(draw(node.input.length + 1));
    else node.input[draw(node.input.length + 1)] = ['', 'nowhere'][draw(2)]!;
  },
  'outputs that are missing or made twice': (graph, draw) => {
    const node = any(graph.node, draw);
    const names = graph.node.flatMap(({ output }) => output);
    if (!node) return;
    if (draw(2) === 0) node.output.splice(draw(node.output.length + 1));
    else node.output[0] = any(names, draw) ?? '';
  },
  'nodes of other operators': (graph, draw) => {
    const node = any(graph.node, draw);
    if (node) node.opType = any(graph.node, draw)!.opType;
  },
  'nodes left out or repeated': (graph, draw) => {
    const at = draw(graph.node.length);
    const node = graph.node[at];
    if (node && draw(2) === 0) graph.node.splice(at, 1);
    else if (node) graph.node.push(clone(NodeProtoSchema, node));
  },
  'chains that branch and meet again': (graph, draw) => {
    const node = any(graph.node, draw);
    let name = node?.output[0];
    if (!node || !name) return;
    const first = graph.node.indexOf(node) + 1;
    const readers = graph.node.slice(first);
    const added: Node[] = [];
    for (let i = 0; i < 60; i++) {
      const next = clone(NodeProtoSchema, node);
      Object.assign(next, { opType: ['Mul', 'Add', 'Concat'][draw(3)], input: [name, name], attribute: [] });
      next.output = [`${name}+`];
      added.push(next);
      name = `${name}+`;
    }
    for (const reader of readers) {
      reader.input = reader.input.map((each) => (each === node.output[0] ? name : each));
    }
    graph.node.splice(first, 0, ...added);
  },
  'shapes and sizes of any kind': (graph, draw) => {
    const tensor = any(graph.initializer, draw);
    if (tensor && draw(2) === 0) {
      tensor.dims = Array.from({ length: draw(5) }, () => any(SIZES, draw)!);
      return;
    }
    const dims = any(graph.input, draw)?.type?.tensorType?.shape?.dim;
    const dim = dims && any(dims, draw);
    if (dim) dim.value = { case: 'dimValue', value: any(SIZES, draw)! };
  },
  'attributes and constants of any size': (graph, draw) => {
    const attribute = any(any(graph.node, draw)?.attribute ?? [], draw);
    if (!attribute) return;
    attribute.i = any(SIZES, draw)!;
    attribute.ints = attribute.ints.map(() => any(SIZES, draw)!);
    if (attribute.t && draw(2) === 0) attribute.t.dims = [any(SIZES, draw)!];
    const raw = attribute.t?.rawData;
    if (attribute.t && raw) attribute.t.rawData = raw.map(() => draw(256));
  },
};

/** The model with a change made to it, to its graph or to one inside it. */
export function changed(model: Model, change: Change, numbers: Iterator<number>): Model {
  const draw: Draw = (count) => (count === 0 ? 0 : (numbers.next().value as number) % count);
  const graph = graphOf(model);
  const inner = graph.node.flatMap(({ attribute }) => attribute.flatMap(({ g }) => (g ? [g] : [])));
  for (let times = 1 + draw(5); times > 0; times--) change(any([graph, ...inner], draw)!, draw);
  return model;
}

function any<T>(values: readonly T[], draw: Draw): T | undefined {
  return values[draw(values.length)];
}
