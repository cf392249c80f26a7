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
  readonly asked: InPlace;
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

/** Whether a layer has a form in place for heads that hold different numbers of rows. The operator is then told of one group of query heads, which has no sinks of its own. */
export function packedTakes({ kvHeads, sink }: AttentionLayer): boolean {
  return kvHeads > 1 && sink === undefined;
}

/** Whether a pass is in place, and whether rows in use have biases; of which kind it is, where there are layers of both: bool [1]. */
export interface InPlace {
  readonly asked: string;
  readonly biased: string;
  readonly packed: string | undefined;
}

/**
 * Declares whether a pass is in place, once for all layers. ONNX Runtime takes inputs of the graph to the GPU where a branch reads them, and waits for them there if they are wanted on the host; what a
 * node on the host makes of them stays.
 */
export function declareInPlace(builder: GraphBuilder, layers: Iterable<AttentionLayer>): InPlace {
  const asked = builder.input(names.inPlace, DataType.BOOL, [1]);
  const flag = (name: string) =>
    builder.op('Greater', [builder.input(name, DataType.INT64, [1]), builder.int64('no', [1], [0])]);
  const packed = Array.from(layers).some(packedTakes) ? flag(names.packed) : undefined;
  return { asked, packed, biased: flag(names.biased) };
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
  const { index, queryHeads, headDim } = layer;
  const { query, key, value, past, masks, asked } = rows;
  const operands: Operands = {
    rows: [query, key, value, past.key, past.value],
    lengths: [rows.held, rows.total],
    sink: sinkByHead(builder, layer, rows.sink),
  };
  const attended = (inner: GraphBuilder, bias?: string) =>
    groupQueryAttention(inner, layer, { ...operands, bias }, 3);
  const biased = (inner: GraphBuilder) => attended(inner, biasInPlace(inner, layer, rows));
  const branch = (outer: GraphBuilder, name: string, make: Way[1]) => {
    const inner = outer.branch(`${name}.${index}`);
    const [context = '', ...present] = make(inner);
    inner.output(context, rows.elemType, contextShape(layer));
    for (const each of present)
      inner.output(each, rows.elemType, ['batch_size', `memory_heads.${index}`, `present.${index}`, headDim]);
    return { graph: inner.graph };
  };
  const either = (
    outer: GraphBuilder,
    condition: string,
    [yes, then]: Way,
    [no, otherwise]: Way,
  ): readonly string[] =>
    outer.ops('If', [condition], {
      attributes: { then_branch: branch(outer, yes, then), else_branch: branch(outer, no, otherwise) },
      outputs: 3,
    });
  const even = (inner: GraphBuilder) =>
    layer.window === undefined
      ? either(inner, asked.biased, ['biased', biased], ['unbiased', attended])
      : biased(inner);
  const [context = '', presentKey = '', presentValue = ''] =
    asked.packed !== undefined && packedTakes(layer)
      ? either(builder, asked.packed, ['packed', (inner) => attendPacked(inner, layer, rows)], ['even', even])
      : even(builder);
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

/** A branch, and what it gives: context, present keys, present values. */
type Way = readonly [name: string, make: (inner: GraphBuilder) => readonly string[]];

/**
 * The same where key heads hold different numbers of rows, which lie as one head's: the operator takes each key head for a token, whose query heads are those that share it. What a query head is not shown, its bias hides.
 */
function attendPacked(builder: GraphBuilder, layer: AttentionLayer, rows: InPlaceRows): readonly string[] {
  const { index, queryHeads, kvHeads, headDim } = layer;
  const { query, key, value, past, masks, elemType } = rows;
  const group = queryHeads / kvHeads;
  const shaped = (name: string, hint: string, shape: readonly number[]) =>
    reshape(builder, name, `${hint}.${index}`, shape);
  const byHead = (name: string, heads: number) =>
    shaped(name, 'heads_as_tokens', [-1, kvHeads, heads * headDim]);
  const hidden = shaped(masks.inPlace(builder, layer), 'biases_as_tokens', [-1, 1, kvHeads, 0]);
  const [context = '', ...present] = groupQueryAttention(
    builder,
    { ...layer, queryHeads: group, kvHeads: 1 },
    {
      rows: [byHead(query, group), byHead(key, 1), byHead(value, 1), past.key, past.value],
      lengths: [rows.held, rows.total],
      sink: undefined,
      bias: cast(builder, hidden, DataType.FLOAT, elemType),
    },
    3,
  );
  return [shaped(context, 'tokens_as_heads', [-1, 1, queryHeads * headDim]), ...present];
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
