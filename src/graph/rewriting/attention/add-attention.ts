import { contractNames, type PastFormat, type Target } from '../../decoder.js';
import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { sizeOf } from '../shapes.js';
import { addInPlace } from './add-in-place.js';
import type { Rows } from './attending.js';
import { attendFew } from './few.js';
import { type InPlace, inPlaceTakes } from './in-place.js';
import { type Masks, slotsName } from './masks.js';
import { branch, finish } from './outputs.js';
import { attendWhole, wholeTakes } from './whole-attention.js';

/**
 * Adds a layer's attention over past and new rows, in operators that read the past where it lies and give only new rows.
 * Query heads that share a key head are rows of one matrix, so keys and values are never repeated. The importance it
 * returns is the paper's (Liu et al., ECCV 2024, section 3.2): attention received, summed over queries, averaged over heads.
 *
 * A few new tokens, as in decoding, attend to past and new rows apart, since the past is far larger than they are. For many, ONNX Runtime's own operator for the prompts of unmodified
 * decoders is faster than anything that is made of several: it leaves out what no query may see, and adds no mask. On a GPU that operator takes single new tokens, in place, where each pass says
 * so: what ONNX Runtime runs there for it is wrong on some devices (off by 0.28 in the logits of an unmodified decoder on SwiftShader, with subgroups), and whoever runs the graph finds out.
 */
export function addAttention(
  builder: GraphBuilder,
  layer: AttentionLayer,
  masks: Masks,
  target: Target,
  format: PastFormat,
  inPlace?: InPlace,
): void {
  if (inPlace && inPlaceTakes(layer, target, format)) {
    addInPlace(builder, layer, masks, format, inPlace);
    return;
  }
  const { index, kvHeads, headDim } = layer;
  const past = declarePast(builder, layer, format);
  masks.declare(layer);
  const made = layer.rows(builder);
  const query = toFloat32(builder, layer, made.query);
  const key = toFloat32(builder, layer, made.key, contractNames.newKey(index));
  const value = toFloat32(builder, layer, made.value, contractNames.newValue(index));
  for (const name of [key, value]) {
    builder.output(name, DataType.FLOAT, ['batch_size', kvHeads, 'sequence_length', headDim]);
  }
  const rows: Rows = { query, key, value, past, sink: layer.sink?.(builder), masks, target };
  const context = builder.fresh(`context.${index}`);
  const outputs = [context, contractNames.attention(index), contractNames.peak(index)];
  if (target === 'host' && wholeTakes(layer)) {
    builder.ops('If', [isWhole(builder, layer, rows)], {
      attributes: {
        then_branch: branch(builder, 'whole', layer, (inner) => attendWhole(inner, layer, rows)),
        else_branch: branch(builder, 'few', layer, (inner) => attendFew(inner, layer, rows)),
      },
      outputs,
    });
  } else {
    const given = attendFew(builder, layer, rows);
    [given.context, given.attention, given.peak].forEach((name, i) => {
      builder.op('Identity', [name], { outputs: [outputs[i]!] });
    });
  }
  for (const name of outputs.slice(1))
    builder.output(name, DataType.FLOAT, ['batch_size', kvHeads, `${slotsName(index)} + sequence_length`]);
  finish(builder, layer, context);
}

/**
 * Whether there are so many new tokens that the past is better copied beside the new rows: that copies headDim numbers of each row and key head, twice; apart, the
 * scores are copied, S for each query head. The whole operator takes several new tokens after a past for one sequence only, each head of which holds as many rows.
 */
function isWhole(builder: GraphBuilder, layer: AttentionLayer, { key, past, masks }: Rows): string {
  const { index, queryHeads, kvHeads, headDim } = layer;
  const few = builder.int64(`few_tokens.${index}`, [1], [Math.ceil((headDim * kvHeads) / queryHeads)]);
  const one = builder.int64(`one_sequence.${index}`, [1], [1]);
  const none = builder.int64(`no_past.${index}`, [1], [0]);
  const sameSize = (axis: number, size: string) =>
    builder.op('Equal', [sizeOf(builder, axis === 0 ? key : past.key, axis), size]);
  const even = sameSize(1, builder.int64(`key_heads.${index}`, [1], [kvHeads]));
  const alone = builder.op('And', [even, builder.op('Or', [sameSize(0, one), sameSize(2, none)])]);
  return builder.op('And', [builder.op('Greater', [masks.newTokens, few]), alone]);
}

/** Declares a layer's past keys and values, and gives them as float32. */
function declarePast(builder: GraphBuilder, { index, kvHeads, headDim }: AttentionLayer, format: PastFormat) {
  // Where heads hold different numbers of rows, these are fed as one head's, and every head is shown all of them.
  const shape = ['batch_size', kvHeads === 1 ? 1 : `past_heads.${index}`, slotsName(index)];
  const half = (name: string, scaleName: string): string => {
    const given = builder.input(name, PAST_TYPES[format], [...shape, headDim]);
    if (format === 'float32') return given;
    const cast = builder.op('Cast', [given], { attributes: { to: DataType.FLOAT } });
    if (format === 'float16') return cast;
    return builder.op('Mul', [cast, builder.input(scaleName, DataType.FLOAT, [...shape, 1])]);
  };
  return {
    key: half(contractNames.pastKey(index), contractNames.pastKeyScale(index)),
    value: half(contractNames.pastValue(index), contractNames.pastValueScale(index)),
  };
}

const PAST_TYPES = {
  float32: DataType.FLOAT,
  float16: DataType.FLOAT16,
  int8: DataType.INT8,
} as const satisfies Record<PastFormat, DataType>;

function toFloat32(builder: GraphBuilder, { elemType }: AttentionLayer, name: string, as?: string): string {
  const outputs = as === undefined ? 1 : [as];
  if (elemType !== DataType.FLOAT)
    return builder.op('Cast', [name], { attributes: { to: DataType.FLOAT }, outputs });
  return as === undefined ? name : builder.op('Identity', [name], { outputs });
}
