import { contractNames, USE_ANOTHER_EXPORT, unsupported } from '../../decoder.js';
import { intAttribute, subgraphsOf } from '../../onnx/attributes.js';
import { type GraphBuilder, shapeOf } from '../../onnx/builder.js';
import { DataType, type Graph, MICROSOFT, type Node } from '../../onnx/onnx.js';
import { GraphIndex } from '../../onnx/queries.js';
import { dimsOf } from '../../onnx/tensors.js';

/** The rotation that a GroupQueryAttention node makes itself, taken out of it. */
export interface Rotation {
  cos: string;
  sin: string;
  interleaved: boolean;
  /** The rotated part of each head when it is not the whole of it. */
  partialWidth: number | undefined;
  /** The positions it reads, undefined when it counts them itself. */
  positionIds: string | undefined;
}

/**
 * The rotation inside a GroupQueryAttention node, undefined when it makes none. Its width is twice the width of the cosine table.
 * @throws ElasticCacheError 'unsupported-graph' when the tables are missing or of unknown width.
 */
export function rotationOf(index: GraphIndex, node: Node, headDim: number): Rotation | undefined {
  if (intAttribute(node, 'do_rotary', 0) === 0) return undefined;
  const cos = node.input[7];
  const sin = node.input[8];
  const half = cos && sin ? tableWidth(index, cos) : undefined;
  if (!cos || !sin || half === undefined) {
    throw unsupported(
      `Node "${node.name}" (GroupQueryAttention) rotates by tables that ${cos && sin ? 'have no known width' : 'are missing'}: ${USE_ANOTHER_EXPORT}.`,
    );
  }
  return {
    cos,
    sin,
    interleaved: intAttribute(node, 'rotary_interleaved', 0) === 1,
    partialWidth: 2 * half === headDim ? undefined : 2 * half,
    positionIds: node.input[9] || undefined,
  };
}

/** Adds a com.microsoft.RotaryEmbedding over `rows` [B, S, heads * headDim] and returns the rotated rows. */
export function rotate(builder: GraphBuilder, rows: string, heads: number, rotation: Rotation): string {
  return builder.op(
    'RotaryEmbedding',
    [rows, rotation.positionIds ?? positions(builder), rotation.cos, rotation.sin],
    {
      domain: MICROSOFT,
      attributes: {
        interleaved: rotation.interleaved ? 1 : 0,
        // The operator takes the two together, and only for a partial rotation.
        ...(rotation.partialWidth === undefined
          ? {}
          : { num_heads: heads, rotary_embedding_dim: rotation.partialWidth }),
      },
    },
  );
}

/** The graph's position_ids input, [B, S]; declared now when the graph had none because the operator counted. */
function positions(builder: GraphBuilder): string {
  const name = contractNames.positionIds;
  const declared = builder.graph.input.find((input) => input.name === name);
  if (!declared) return builder.input(name, DataType.INT64, ['batch_size', 'sequence_length']);
  if (shapeOf(declared)?.length !== 2) {
    throw unsupported(
      `The decoder's input "${name}" is not of shape [batch, sequence], which its rotation needs: ${USE_ANOTHER_EXPORT}.`,
    );
  }
  return name;
}

/** The last dimension of a table: a constant, a declared value, or what both branches of an If (LongRoPE) give. */
function tableWidth(index: GraphIndex, name: string): number | undefined {
  const tensor = index.constant(name);
  if (tensor) return dimsOf(tensor)[1];
  const value = index.graph.valueInfo.find((info) => info.name === name);
  const declared = value && shapeOf(value)?.[1];
  if (typeof declared === 'number') return declared;
  const producer = index.producer(name);
  if (producer?.opType !== 'If') return undefined;
  const output = producer.output.indexOf(name);
  const widths = subgraphsOf(producer).map((branch) => branchWidth(branch, output, index));
  return widths.every((width) => width === widths[0]) ? widths[0] : undefined;
}

function branchWidth(branch: Graph, output: number, outer: GraphIndex): number | undefined {
  const name = branch.output[output]?.name ?? '';
  const inner = new GraphIndex(branch);
  const producer = inner.producer(name);
  const source = producer?.opType === 'Identity' ? (producer.input[0] ?? '') : name;
  const tensor = inner.constant(source) ?? outer.constant(source);
  return tensor && dimsOf(tensor)[1];
}
