import { ElasticCacheError } from '../errors.js';
import type { DecoderSignature } from './decoder.js';
import { subgraphsOf } from './onnx/attributes.js';
import { type Graph, graphOf, type Model } from './onnx/onnx.js';
import { type RewriteReport, rewriteDecoder } from './rewrite.js';

/** What a decoder is, and whether it can be rewritten. */
export interface Inspection {
  /** How many nodes of each operator the graph and its subgraphs hold, the most frequent first. */
  operators: { name: string; count: number }[];
  /** Undefined when the decoder can be rewritten, else the sentence that says why not. */
  refusal: string | undefined;
  /** Undefined when the decoder is refused. */
  decoder: DecoderSignature | undefined;
  report: RewriteReport | undefined;
  /** Bytes of keys and values that one token takes over all layers, in the decoder's own format; undefined when it is refused. */
  cacheBytesPerToken: number | undefined;
}

/** Looks at a decoder without running it. Throws nothing for one that cannot be rewritten: `refusal` says why. */
export function inspectDecoder(model: Model): Inspection {
  const operators = operatorCounts(graphOf(model));
  try {
    const { decoder, report } = rewriteDecoder(model);
    const rows = decoder.layers.reduce((sum, { kvHeads, headDim }) => sum + kvHeads * headDim, 0);
    return {
      operators,
      refusal: undefined,
      decoder,
      report,
      cacheBytesPerToken: 2 * rows * (decoder.stockPast === 'float16' ? 2 : 4),
    };
  } catch (error) {
    if (!(error instanceof ElasticCacheError)) throw error;
    return {
      operators,
      refusal: error.message,
      decoder: undefined,
      report: undefined,
      cacheBytesPerToken: undefined,
    };
  }
}

function operatorCounts(graph: Graph): { name: string; count: number }[] {
  const counts = new Map<string, number>();
  const count = (scope: Graph) => {
    for (const node of scope.node) {
      const name = node.domain ? `${node.domain}.${node.opType}` : node.opType;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      for (const inner of subgraphsOf(node)) count(inner);
    }
  };
  count(graph);
  return [...counts]
    .map(([name, times]) => ({ name, count: times }))
    .sort((a, b) => b.count - a.count || a.name.localeCompare(b.name));
}
