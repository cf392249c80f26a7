import { contractNames as names, type PastFormat } from '../../decoder.js';
import type { GraphBuilder } from '../../onnx/builder.js';
import { DataType } from '../../onnx/onnx.js';
import type { AttentionLayer } from '../../patterns/attention-layer.js';
import { cast } from '../shapes.js';
import type { Rows } from './attending.js';
import { attendFew } from './few.js';
import { attendInPlace, declareLengths, type InPlace, type InPlaceRows } from './in-place.js';
import { type Masks, slotsName } from './masks.js';
import { branch, finish } from './outputs.js';
import { giveRows, type TokenRows, tokenRows } from './token-rows.js';

/**
 * Adds the attention of a layer that can write in place: it does where a pass says so, and attends in single operators in any other. Its new rows come token by token, as the operator takes them, so
 * that a step turns nothing.
 */
export function addInPlace(
  builder: GraphBuilder,
  layer: AttentionLayer,
  masks: Masks,
  format: PastFormat,
  asked: InPlace,
): void {
  const { index, kvHeads, headDim } = layer;
  const elemType = format === 'float16' ? DataType.FLOAT16 : DataType.FLOAT;
  // Where heads hold different numbers of rows, these are fed as one head's.
  const memory = ['batch_size', kvHeads === 1 ? 1 : `past_heads.${index}`, slotsName(index), headDim];
  const past = {
    key: builder.input(names.pastKey(index), elemType, memory),
    value: builder.input(names.pastValue(index), elemType, memory),
  };
  masks.declare(layer);
  const made = tokenRows(builder, layer);
  const { held, total } = declareLengths(builder, layer);
  const sink = layer.sink?.(builder);
  const asHeld = (each: TokenRows) => cast(builder, each.flat, layer.elemType, elemType);
  const rows: InPlaceRows = {
    ...{ elemType, past, sink, masks, held, total, asked },
    query: asHeld(made.query),
    key: asHeld(made.key),
    value: asHeld(made.value),
  };
  const context = builder.fresh(`context.${index}`);
  const outputs = [context, names.attention(index), names.peak(index)];
  const present = [names.presentKey(index), names.presentValue(index)];
  let written: readonly string[] = [];
  builder.ops('If', [asked.asked], {
    attributes: {
      then_branch: branch(
        builder,
        'in_place',
        layer,
        (inner) => {
          const given = attendInPlace(inner, layer, rows);
          written = [given.presentKey, given.presentValue];
          return { ...given, peak: nothing(inner, [1, kvHeads, 0], DataType.FLOAT) };
        },
        (inner) => give(inner, layer, written, elemType),
      ),
      else_branch: branch(
        builder,
        'apart',
        layer,
        (inner) => attendFew(inner, layer, rowsApart(inner, layer, rows, made)),
        (inner) => {
          const none = present.map(() => nothing(inner, [1, kvHeads, 0, headDim], elemType));
          give(inner, layer, none, elemType);
        },
      ),
    },
    outputs: [...outputs, ...present],
  });
  giveRows(builder, layer, made.key, names.newKey(index));
  giveRows(builder, layer, made.value, names.newValue(index));
  for (const name of outputs.slice(1))
    builder.output(name, DataType.FLOAT, ['batch_size', kvHeads, `given.${index}`]);
  for (const name of present) builder.output(name, elemType, memory);
  finish(builder, layer, context);
}

/** Rows as single operators take them, made where these are. */
function rowsApart(
  builder: GraphBuilder,
  layer: AttentionLayer,
  { elemType, past, sink, masks }: InPlaceRows,
  made: Record<'query' | 'key' | 'value', TokenRows>,
): Rows {
  const own = (each: TokenRows) => cast(builder, each.byHead(builder), layer.elemType, DataType.FLOAT);
  const held = (name: string) => cast(builder, name, elemType, DataType.FLOAT);
  return {
    ...{ query: own(made.query), key: own(made.key), value: own(made.value) },
    past: { key: held(past.key), value: held(past.value) },
    ...{ sink, masks, target: 'gpu' },
  };
}

function give(
  inner: GraphBuilder,
  { index, headDim }: AttentionLayer,
  memory: readonly string[],
  elemType: DataType,
): void {
  for (const name of memory)
    inner.output(name, elemType, ['batch_size', `memory_heads.${index}`, `memory.${index}`, headDim]);
}

function nothing(inner: GraphBuilder, dims: readonly number[], type: DataType): string {
  return inner.op('Identity', [inner.raw('nothing', type, dims, new Uint8Array(0))]);
}
