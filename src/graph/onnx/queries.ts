import { ElasticCacheError } from '../../errors.js';
import { subgraphsOf } from './attributes.js';
import { createTensor, DataType, type Graph, type Node, type Tensor } from './onnx.js';
import { tensorNumbers } from './tensors.js';

/** Who makes and who reads each value of a graph. A view of one moment: build it again after changing the graph. */
export class GraphIndex {
  private readonly producers = new Map<string, Node>();
  private readonly readers = new Map<string, Node[]>();
  private readonly constants = new Map<string, Tensor>();

  constructor(readonly graph: Graph) {
    for (const node of graph.node) {
      const tensor = node.opType === 'Constant' && constantOf(node);
      if (tensor) this.constants.set(node.output[0] ?? '', tensor);
      for (const output of node.output) if (output) this.producers.set(output, node);
      for (const name of usedNames(node)) {
        const nodes = this.readers.get(name);
        if (nodes) nodes.push(node);
        else this.readers.set(name, [node]);
      }
    }
    for (const tensor of graph.initializer) this.constants.set(tensor.name, tensor);
  }

  /** The node that makes a value; undefined for graph inputs, initializers and unknown names. */
  producer(name: string): Node | undefined {
    return this.producers.get(name);
  }

  /** The nodes that read a value, also those that read it from inside a subgraph, each once. */
  consumers(name: string): readonly Node[] {
    return this.readers.get(name) ?? [];
  }

  /** The tensor behind an initializer or a Constant node. */
  constant(name: string): Tensor | undefined {
    return this.constants.get(name);
  }

  /** The elements of a constant as numbers; undefined when it is no constant or its bytes are not in the model. */
  constantNumbers(name: string): number[] | undefined {
    const tensor = this.constant(name);
    return tensor && tensorNumbers(tensor);
  }
}

/** The tensor of a Constant, which may be written as one or as numbers; undefined for strings and sparse tensors. */
function constantOf({ attribute }: Node): Tensor | undefined {
  for (const { name, t, i, ints, f, floats } of attribute) {
    switch (name) {
      case 'value':
        return t;
      case 'value_int':
        return createTensor({ dataType: DataType.INT64, int64Data: [i] });
      case 'value_ints':
        return createTensor({ dataType: DataType.INT64, dims: [BigInt(ints.length)], int64Data: ints });
      case 'value_float':
        return createTensor({ dataType: DataType.FLOAT, floatData: [f] });
      case 'value_floats':
        return createTensor({ dataType: DataType.FLOAT, dims: [BigInt(floats.length)], floatData: floats });
    }
  }
  return undefined;
}

/** The value that Identity and Cast make another of, through any number of them; the name itself where neither made it. */
export function beforeCasts(index: GraphIndex, name: string): string {
  const node = index.producer(name);
  return node && /^(Cast|Identity)$/.test(node.opType) ? beforeCasts(index, node.input[0] ?? '') : name;
}

/** Whether a type is that of an input, an output or a weight of a graph, or of what it casts to. */
export function hasType(graph: Graph, type: DataType): boolean {
  return (
    [...graph.input, ...graph.output].some((value) => value.type?.tensorType?.elemType === type) ||
    graph.initializer.some(({ dataType }) => dataType === type) ||
    graph.node.some(
      (node) =>
        node.attribute.some(
          ({ name, i, t }) => (name === 'to' && Number(i) === type) || t?.dataType === type,
        ) || subgraphsOf(node).some((inner) => hasType(inner, type)),
    )
  );
}

/** Gives a value that a node of the graph makes another name, which nothing in it has. Changes `graph`. */
export function renameValue(graph: Graph, from: string, to: string): void {
  const renamed = (name: string) => (name === from ? to : name);
  for (const list of [graph.output, graph.valueInfo]) {
    for (const value of list) value.name = renamed(value.name);
  }
  for (const node of graph.node) {
    if (!node.output.includes(from) && !usedNames(node).has(from)) continue;
    node.input = node.input.map(renamed);
    node.output = node.output.map(renamed);
    for (const inner of subgraphsOf(node)) if (outerNames(inner).has(from)) renameValue(inner, from, to);
  }
}

/** The values a node reads: its inputs and what its subgraphs take from outside; each once, absent inputs left out. */
export function usedNames(node: Node): Set<string> {
  const names = new Set(node.input);
  for (const graph of subgraphsOf(node)) for (const name of outerNames(graph)) names.add(name);
  names.delete('');
  return names;
}

function outerNames(graph: Graph): Set<string> {
  const own = new Set<string>();
  for (const input of graph.input) own.add(input.name);
  for (const tensor of graph.initializer) own.add(tensor.name);
  for (const node of graph.node) for (const output of node.output) own.add(output);
  const names = new Set(graph.output.map((output) => output.name));
  for (const node of graph.node) for (const name of usedNames(node)) names.add(name);
  for (const name of own) names.delete(name);
  return names;
}

/** Every name in a graph and its subgraphs, of values and of nodes. */
export function namesIn(graph: Graph): Set<string> {
  const names = new Set<string>();
  const collect = (scope: Graph) => {
    for (const list of [scope.input, scope.output, scope.valueInfo, scope.initializer]) {
      for (const { name } of list) names.add(name);
    }
    for (const node of scope.node) {
      names.add(node.name);
      for (const name of [...node.input, ...node.output]) names.add(name);
      for (const inner of subgraphsOf(node)) collect(inner);
    }
  };
  collect(graph);
  return names;
}

/**
 * The nodes ordered so that each comes after those it reads from; nodes that are in order already stay where they are.
 * @throws ElasticCacheError 'invalid-model' when there is a cycle.
 */
export function topologicalOrder(graph: Graph): Node[] {
  const index = new GraphIndex(graph);
  const state = new Map<Node, 'open' | 'done'>();
  const ordered: Node[] = [];
  for (const root of graph.node) {
    // An explicit stack: decoders are thousands of nodes deep.
    const stack: { node: Node; names: Iterator<string> }[] = [];
    const enter = (node: Node) => {
      state.set(node, 'open');
      stack.push({ node, names: usedNames(node).values() });
    };
    if (!state.has(root)) enter(root);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const next = top.names.next();
      if (next.done) {
        state.set(top.node, 'done');
        ordered.push(top.node);
        stack.pop();
        continue;
      }
      const producer = index.producer(next.value);
      if (!producer || state.get(producer) === 'done') continue;
      if (state.get(producer) === 'open') {
        throw new ElasticCacheError(
          'invalid-model',
          `Node "${producer.name}" (${producer.opType}) takes part in a cycle: export the model again.`,
        );
      }
      enter(producer);
    }
  }
  return ordered;
}

/** Removes what no graph output depends on: nodes, initializers, graph inputs and value declarations. Changes `graph`. */
export function removeDead(graph: Graph): void {
  const index = new GraphIndex(graph);
  const live = new Set<string>();
  const nodes = new Set<Node>();
  const pending = graph.output.map((output) => output.name);
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (live.has(name)) continue;
    live.add(name);
    const node = index.producer(name);
    if (!node || nodes.has(node)) continue;
    nodes.add(node);
    pending.push(...usedNames(node));
  }
  graph.node = graph.node.filter((node) => nodes.has(node));
  graph.initializer = graph.initializer.filter((tensor) => live.has(tensor.name));
  graph.input = graph.input.filter((input) => live.has(input.name));
  graph.valueInfo = graph.valueInfo.filter((value) => live.has(value.name));
}
