import type { DecoderLayer } from '../decoder.js';
import type { GraphBuilder } from '../onnx/builder.js';
import type { DataType, Node } from '../onnx/onnx.js';

/** How a recognised layer attends, as `inspect` prints it. */
export interface AttentionDescription {
  /** The operator, for instance 'GroupQueryAttention'. */
  pattern: string;
  /** The node's name. */
  node: string;
  /** Whether queries, keys and values come as one tensor. */
  packed: boolean;
  /** Whether the attention node rotates queries and keys itself. */
  rope: 'inside' | 'outside';
}

/** A layer's attention, taken apart: what every pattern gives the rewriter. */
export interface AttentionLayer extends DecoderLayer {
  description: AttentionDescription;
  /** The tokens of the longest text that the original runs; absent where its attention sets no limit. */
  longestText?: number;
  /** Factor of the scores. */
  scale: number;
  /** c of c * tanh(score / c), 0 for none. */
  softcap: number;
  /**
   * Makes a score for each query head, float32 [1, queryHeads, 1, 1], that takes part in the softmax and gives nothing (an attention
   * sink); absent where attention sums to one.
   */
  sink?: (builder: GraphBuilder) => string;
  /** Element type of the rows and of the output in the original graph. */
  elemType: DataType;
  /** The nodes that the rewritten attention stands for. */
  replaces: Node[];
  /** The value that the rewritten attention has to make. */
  output: string;
  /** Its shape: 'rows' [B, S, queryHeads * headDim], 'heads' [B, queryHeads, S, headDim] or 'all-heads' [B * queryHeads, S, headDim]. */
  outputLayout: 'rows' | 'heads' | 'all-heads';
  /** Adds the nodes that make this layer's new rows, [B, heads, S, headDim], queries and keys rotated. */
  rows(builder: GraphBuilder): { query: string; key: string; value: string };
}
