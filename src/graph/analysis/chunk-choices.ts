import { contractNames, MASK, TOKEN_INPUTS, USE_ANOTHER_EXPORT, unsupported } from '../decoder.js';
import { subgraphsOf } from '../onnx/attributes.js';
import type { Graph, Node } from '../onnx/onnx.js';
import { GraphIndex, topologicalOrder, usedNames } from '../onnx/queries.js';
import { sharedEvaluatorAtSizes } from './evaluate-at-sizes.js';

export const COMPARES = /^(Greater|Less)(OrEqual)?$/;

/** Nodes that make each element of those at its place, or set elements side by side. */
const KEEPS_PLACES =
  /^(Abs|Add|And|Cast|Ceil|Clip|Concat|Cos|Div|Equal|Exp|Floor|Greater(OrEqual)?|Identity|Less(OrEqual)?|Max|Min|Mod|Mul|Neg|Not|Or|Pow|Reciprocal|Round|Sign|Sin|Sqrt|Sub|Where|Xor)$/;
/** Nodes that pass on the elements of their first input; of the others they take a shape, axes or a type. */
const PASSES_FIRST = /^(CastLike|Expand|Reshape|Squeeze|Tile|Transpose|Unsqueeze)$/;
const SIZES = /^(Shape|Size)$/;

/** Sizes that show which dimensions are 1 and no length. */
const LENGTHS = { past: 67, tokens: 61, padded: 0 };

/**
 * What the content of a value is made of. 'embeddings': the tokens themselves or activations, which say nothing of how long the text is,
 * whatever else is in them. 'position': of each token's own position, which is the same in every chunk. 'text': of the attention
 * mask, or of the positions in another way, so that it may be a length as one chunk shows it.
 */
type Source = 'embeddings' | 'position' | 'text';

/**
 * Refuses what would choose for each chunk by what that chunk shows of the text. A comparison of each token's own position
 * does not, as long as what it chooses stays that token's.
 * @param nodes those of the original; of its masks none is left
 * @throws ElasticCacheError 'unsupported-graph' with the name of the comparison or the If
 */
export function refuseChunkChoices(graph: Graph, nodes: ReadonlySet<Node>): void {
  const sources = new Sources(new GraphIndex(graph));
  /** What comparisons of single positions have chosen, and the comparison. */
  const chosen = new Map<string, Node>();
  for (const node of topologicalOrder(graph)) {
    const reads = [...usedNames(node)];
    const read = sources.add(node, reads);
    let chooser = reads.map((name) => chosen.get(name)).find((each) => each !== undefined);
    if (chooser && SIZES.test(node.opType)) continue;
    if (chooser && !sources.keepsApart(node, (name) => chosen.has(name))) refuse(chooser);
    if (nodes.has(node)) {
      const inner = innerChoice(node);
      if (inner && (read.has('text') || read.has('position'))) refuse(inner);
      if (node.opType === 'If' && node.input.some((name) => sources.isOfText(name))) refuse(node);
      if (COMPARES.test(node.opType)) {
        if (read.has('text')) refuse(node);
        if (read.has('position')) chooser ??= node;
      }
    }
    if (!chooser) continue;
    for (const name of node.output) if (sources.get(name) !== 'embeddings') chosen.set(name, chooser);
  }
}

function refuse({ name, opType }: Node): never {
  throw unsupported(
    `Node "${name}" (${opType}) chooses by the attention mask or the positions in a way that is not supported: ${USE_ANOTHER_EXPORT}.`,
  );
}

/** A comparison or an If inside a node's branches. */
function innerChoice(node: Node): Node | undefined {
  for (const { node: inner } of subgraphsOf(node)) {
    for (const each of inner) {
      const found = COMPARES.test(each.opType) || each.opType === 'If' ? each : innerChoice(each);
      if (found) return found;
    }
  }
  return undefined;
}

/** Sources of the values that have one, found node by node in their order. */
class Sources {
  private readonly found = new Map<string, Source>([
    ...TOKEN_INPUTS.map((name) => [name, 'embeddings'] as const),
    [contractNames.positionIds, 'position'],
    [MASK, 'text'],
  ]);

  constructor(private readonly index: GraphIndex) {}

  get(name: string): Source | undefined {
    return this.found.get(name);
  }

  isOfText(name: string): boolean {
    const source = this.found.get(name);
    return source === 'text' || source === 'position';
  }

  /** Finds the source of what a node makes. @returns the sources of what it reads */
  add(node: Node, reads: readonly string[]): Set<Source | undefined> {
    const read = new Set(reads.map((name) => this.found.get(name)));
    const source = this.sourceOf(node, read);
    if (source) for (const name of node.output) this.found.set(name, source);
    return read;
  }

  private sourceOf(node: Node, read: ReadonlySet<Source | undefined>): Source | undefined {
    const passes = PASSES_FIRST.test(node.opType);
    const first = this.found.get(node.input[0] ?? '');
    if (passes && (first || node.opType === 'CastLike')) return first;
    const sizes = passes || SIZES.test(node.opType);
    if (read.has('embeddings') && !sizes) return 'embeddings';
    if (read.has('text')) return 'text';
    if (!read.has('position')) return undefined;
    const apart = this.keepsApart(node, (name) => this.found.get(name) === 'position');
    return apart && !sizes ? 'position' : 'text';
  }

  /** Whether a node makes, of values of single tokens, those of the same tokens. False where that is not known. */
  keepsApart(node: Node, single: (name: string) => boolean): boolean {
    const { opType, input } = node;
    const others = input.slice(1);
    if (opType === 'RotaryEmbedding') return !single(input[0] ?? '');
    if (node.domain !== '') return false;
    if (PASSES_FIRST.test(opType)) return !others.some(single);
    // Rows of a table, by indices.
    if (opType === 'Gather') return !single(input[0] ?? '');
    return KEEPS_PLACES.test(opType) || (opType === 'MatMul' && this.isOuterProduct(node, single));
  }

  /** Every number of one matrix by every number of the other, as frequencies by positions: there is nothing to add up. */
  private isOuterProduct({ input: [a = '', b = ''] }: Node, single: (name: string) => boolean): boolean {
    if (single(a) && single(b)) return false;
    const evaluator = sharedEvaluatorAtSizes(this.index, { kvHeads: 1, headDim: 1, whole: [] }, LENGTHS);
    try {
      return single(a) ? evaluator.dims(b).at(-2) === 1 : evaluator.dims(a).at(-1) === 1;
    } catch {
      // A shape that is not known may be a length.
      return false;
    }
  }
}
