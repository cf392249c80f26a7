import { contractNames as names, type PastFormat, type Target } from '../../decoder.js';
import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { cast, reshape } from '../shapes.js';
import { pastWeights } from './attending.js';
import type { Masks } from './masks.js';
import { biasPerHead, groupQueryAttention, type Operands, sinkByHead } from './operator.js';
import { contextShape } from './outputs.js';
import { receivedFrom, whereAsked } from './received.js';
import { wholeTakes } from './whole-attention.js';

/** What a layer attends with in place. */
export interface InPlaceRows {
  /** Of everything that is held. */
  readonly elemType: DataType;
  /** [B, S, heads * headDim], as they are held */
  readonly query: string;
  readonly key: string;
  readonly value: string;
  /** [B, kvHeads, P, headDim] */
  readonly past: { readonly key: string; readonly value: string };
  /** [1, queryHeads, 1, 1] */
  readonly sink: string | undefined;
  readonly masks: Masks;
  /** int32 [B], rows in use before */
  readonly held: string;
  /** int32 [1], on the host, the most rows in use afterwards */
  readonly total: string;
  /** bool [1], whether rows in use have biases */
  readonly biased: string;
}

/** What a pass in place gives: context [B, S, queryHeads * headDim], what each row received, and the memory that it wrote to. */
export interface AttendedInPlace {
  readonly context: string;
  readonly attention: string;
  readonly presentKey: string;
  readonly presentValue: string;
}

/** Whether a layer has a form in place. WebGPU's operator knows no softcap. */
export function inPlaceTakes(layer: AttentionLayer, target: Target, format: PastFormat): boolean {
  return target === 'gpu' && format !== 'int8' && wholeTakes(layer) && layer.softcap === 0;
}

/** Whether a pass is in place, and whether it has biases: bool [1]. */
export interface InPlace {
  readonly asked: string;
  readonly biased: string;
}

/**
 * Declares whether a pass is in place, once for all layers. ONNX Runtime takes inputs of the graph to the GPU where a branch reads them, and waits for them there if they are wanted on the host; what a
 * node on the host makes of them stays.
 */
export function declareInPlace(builder: GraphBuilder): InPlace {
  const asked = builder.input(names.inPlace, DataType.BOOL, [1]);
  const biased = builder.input(names.biased, DataType.INT64, [1]);
  return { asked, biased: builder.op('Greater', [biased, builder.int64('unbiased', [1], [0])]) };
}

/** Declares the lengths of a layer, and gives them as the operator takes them. */
export function declareLengths(
  builder: GraphBuilder,
  { index }: AttentionLayer,
): { held: string; total: string } {
  const held = builder.input(names.held(index), DataType.INT32, ['batch_size']);
  const total = builder.input(names.total(index), DataType.INT64, [1]);
  return { held, total: builder.op('Cast', [total], { attributes: { to: DataType.INT32 } }) };
}

/**
 * One new token of one sequence, by com.microsoft.GroupQueryAttention in place: where its present is bound to the memory of its past, it writes the new row behind those that are held and attends
 * to them as they lie there. Rows beyond are not read, so that nothing hides them; the operator is only given biases where there are any, which costs a copy of them.
 */
export function attendInPlace(
  builder: GraphBuilder,
  layer: AttentionLayer,
  rows: InPlaceRows,
): AttendedInPlace {
  const { index, kvHeads, queryHeads, headDim } = layer;
  const { query, key, value, past, masks } = rows;
  const operands: Operands = {
    rows: [query, key, value, past.key, past.value],
    lengths: [rows.held, rows.total],
    sink: sinkByHead(builder, layer, rows.sink),
  };
  const attended = (inner: GraphBuilder, bias?: string) =>
    groupQueryAttention(inner, layer, { ...operands, bias }, 3);
  const biased = (inner: GraphBuilder) => attended(inner, biasInPlace(inner, layer, rows));
  const branch = (name: string, make: (inner: GraphBuilder) => readonly string[]) => {
    const inner = builder.branch(`${name}.${index}`);
    const [context = '', ...present] = make(inner);
    inner.output(context, rows.elemType, contextShape(layer));
    for (const each of present)
      inner.output(each, rows.elemType, ['batch_size', kvHeads, `present.${index}`, headDim]);
    return { graph: inner.graph };
  };
  const given =
    layer.window === undefined
      ? builder.ops('If', [rows.biased], {
          attributes: {
            then_branch: branch('biased', biased),
            else_branch: branch('unbiased', attended),
          },
          outputs: 3,
        })
      : biased(builder);
  const [context = '', presentKey = '', presentValue = ''] = given;
  const { newTokens: queries, askedQueries } = masks;
  const [attention = ''] = whereAsked(builder, layer, askedQueries, (inner) => {
    // With one token the order of heads and tokens is the same.
    const byHead = reshape(inner, floats(inner, query, rows), `by_head.${index}`, [
      0,
      queryHeads,
      1,
      headDim,
    ]);
    const own = { query: byHead, sink: rows.sink, masks };
    const weights = pastWeights(inner, layer, own, floats(inner, presentKey, rows));
    return receivedFrom(inner, layer, { masks, past }, weights, queries, { queries, as: 'sum' });
  });
  return { context: floats(builder, context, rows), attention, presentKey, presentValue };
}

/** Biases of the rows in use afterwards, [1, 1 or queryHeads, 1, total], in the type of the rows. */
function biasInPlace(
  builder: GraphBuilder,
  layer: AttentionLayer,
  { masks, elemType, total }: InPlaceRows,
): string {
  const { index } = layer;
  const [first, axis] = [0, 3].map((value) => builder.int32(`used.${index}`, [1], [value]));
  const used = builder.op('Slice', [masks.inPlace(builder, layer), first, total, axis]);
  return biasPerHead(builder, layer, cast(builder, used, DataType.FLOAT, elemType));
}

function floats(builder: GraphBuilder, name: string, { elemType }: InPlaceRows): string {
  return cast(builder, name, elemType, DataType.FLOAT);
}
