import { USE_ANOTHER_EXPORT, unsupported } from '../decoder.js';
import { attributeOf } from '../onnx/attributes.js';
import { createNode, type Graph, graphOf, type Model, type Node } from '../onnx/onnx.js';
import { GraphIndex } from '../onnx/queries.js';

/** Whether there is a past, bool [1]: the condition of the If that Optimum merges two decoders under. */
const CONDITION = 'use_cache_branch';

/**
 * Puts the branch with a past of a decoder merged by Optimum in the place of its If, and drops the condition. Changes
 * `model`; a decoder without that condition stays as it is.
 * @returns the If that was there
 * @throws ElasticCacheError 'unsupported-graph' when the condition is used in another way.
 */
export function inlineCacheBranch(model: Model): Node | undefined {
  const graph = graphOf(model);
  if (!graph.input.some(({ name }) => name === CONDITION)) return undefined;
  const [node, other] = new GraphIndex(graph).consumers(CONDITION);
  const branch = node && attributeOf(node, 'then_branch')?.g;
  if (node?.opType !== 'If' || !branch || branch.output.length !== node.output.length || other) {
    throw unsupported(
      `The decoder uses its input "${CONDITION}" otherwise than to choose between two branches of one If node: ${USE_ANOTHER_EXPORT}.`,
    );
  }
  refuseClash(graph, node, branch);
  const renamed = branch.output.flatMap(({ name }, i) => {
    const output = node.output[i] ?? '';
    return name === output || output === ''
      ? []
      : [createNode({ opType: 'Identity', name: `${node.name}/${output}`, input: [name], output: [output] })];
  });
  graph.node.splice(graph.node.indexOf(node), 1, ...branch.node, ...renamed);
  graph.initializer.push(...branch.initializer);
  graph.valueInfo.push(...branch.valueInfo);
  graph.input = graph.input.filter(({ name }) => name !== CONDITION);
  return node;
}

/** Names may be used again in a branch, where they hide those outside. */
function refuseClash(graph: Graph, node: Node, branch: Graph): void {
  const outside = new Set([...graph.input, ...graph.initializer].map(({ name }) => name));
  for (const each of graph.node) if (each !== node) for (const name of each.output) outside.add(name);
  const inside = [
    ...branch.initializer.map(({ name }) => name),
    ...branch.node.flatMap(({ output }) => output),
  ];
  const renamed = node.output.filter((name, i) => name !== branch.output[i]?.name);
  const clash =
    inside.find((name) => name && outside.has(name)) ?? renamed.find((name) => inside.includes(name));
  if (clash) {
    throw unsupported(
      `Node "${node.name}" (If) has a value named "${clash}" in its branch and another outside: ${USE_ANOTHER_EXPORT}.`,
    );
  }
}
