import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import type { Rotary } from '../checkpoint/text/rotary.js';
import type { TextSpec } from '../checkpoint/text/spec.js';
import { embeddingTensor, layersOf } from '../checkpoint/text/tensors.js';
import type { OnnxFile } from '../writing/onnx-file.js';
import { decoderLayer, type LayerInputs, type Rotate, rmsNorm } from './decoder-layer.js';
import { Layers, type ReadTensor, type WeightFormat } from './layers.js';
import { type RotaryTables, rotaryTables, scaledTables } from './rotary-tables.js';

/**
 * Adds the token embedding: `input_ids` [batch, tokens] -> `inputs_embeds` [batch, tokens, hidden].
 * @param rows of the table; those beyond the checkpoint's are 0.
 */
export async function buildEmbedTokens(
  file: OnnxFile,
  spec: TextSpec,
  read: ReadTensor,
  { half = false }: WeightFormat,
  rows = spec.vocabulary,
): Promise<void> {
  const layers = new Layers(file, read, { kind: 'float', half });
  layers.leave(await embed(file, layers, spec, rows), 'inputs_embeds');
  file.builder.output('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', spec.hidden]);
}

async function embed(
  file: OnnxFile,
  layers: Layers,
  spec: TextSpec,
  rows = spec.vocabulary,
): Promise<string> {
  const ids = file.builder.input('input_ids', DataType.INT64, ['batch_size', 'sequence_length']);
  const gather = [await layers.table(embeddingTensor(spec).name, rows, spec.hidden), ids];
  const rowsOfIds = layers.op('Gather', gather);
  return spec.gemma ? layers.op('Mul', [rowsOfIds, layers.scalar(Math.sqrt(spec.hidden))]) : rowsOfIds;
}

/**
 * Adds a decoder of the Llama kind as transformers.js drives it. Rotation takes its positions from `position_ids`, so it is right
 * whatever the cache holds. `num_logits_to_keep` is the number of last tokens to give logits for, 0 for all.
 * Batched prompts of unequal length have to be padded on the right: com.microsoft.GroupQueryAttention takes no other.
 * @param source what it takes: `inputs_embeds` [batch, tokens, hidden] beside an image, `input_ids` [batch, tokens] of text alone.
 * @param head name of the tensor of the output product, without `.weight`.
 */
export async function buildDecoder(
  file: OnnxFile,
  spec: TextSpec,
  source: 'inputs_embeds' | 'input_ids',
  head: string,
  read: ReadTensor,
  format: WeightFormat,
): Promise<void> {
  const layers = new Layers(file, read, format);
  const { builder } = file;
  const { hidden, kvHeads, headDim } = spec;
  let x =
    source === 'input_ids'
      ? await embed(file, layers, spec)
      : layers.enter(
          builder.input('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', hidden]),
        );
  const mask = builder.input('attention_mask', DataType.INT64, ['batch_size', 'total_sequence_length']);
  const positionIds = builder.input('position_ids', DataType.INT64, [
    ...(spec.rotary.sections ? [3] : []),
    'batch_size',
    'sequence_length',
  ]);
  const keep = builder.input('num_logits_to_keep', DataType.INT64, []);
  const lengths = maskLengths(layers, mask);
  const turns = await rotation(layers, spec, spec.rotary, positionIds);
  const near = spec.gemma && (await rotation(layers, spec, spec.gemma.rotary, positionIds));
  const cacheShape = (length: string) => ['batch_size', kvHeads, length, headDim];
  for (let i = 0; i < spec.layers; i++) {
    for (const part of ['key', 'value']) {
      builder.input(`past_key_values.${i}.${part}`, layers.real, cacheShape('past_sequence_length'));
    }
  }
  builder.output('logits', DataType.FLOAT, ['batch_size', 'logits_length', spec.vocabulary]);
  for (let i = 0; i < spec.layers; i++) {
    for (const part of ['key', 'value']) {
      builder.output(`present.${i}.${part}`, layers.real, cacheShape('total_sequence_length'));
    }
    const rotate = near && spec.windows?.[i] !== undefined ? near : turns;
    x = await decoderLayer(layers, x, spec, { ...lengths, rotate }, i);
  }
  x = await rmsNorm(layers, x, `${layersOf(spec)}.norm`, spec.hidden, spec);
  // A start of -n leaves the last n tokens, and -0 is 0: the slice is then everything.
  const start = layers.op('Reshape', [layers.op('Neg', [keep]), layers.int64(1)]);
  x = layers.op('Slice', [x, start, layers.int64(Number.MAX_SAFE_INTEGER), layers.int64(1)]);
  const logits = await layers.linear(x, head, [spec.vocabulary, hidden]);
  layers.leave(logits, 'logits');
}

/** What GroupQueryAttention asks of the mask [batch, total]: the index of each row's last token [batch] and the total, both int32. */
function maskLengths(layers: Layers, mask: string): Pick<LayerInputs, 'lastIndex' | 'totalLength'> {
  const toInt32 = { attributes: { to: DataType.INT32 } };
  const used = layers.op('ReduceSum', [mask, layers.int64(1)], { attributes: { keepdims: 0 } });
  const total = layers.op('Shape', [mask], { attributes: { start: 1, end: 2 } });
  return {
    lastIndex: layers.op('Cast', [layers.op('Sub', [used, layers.int64(1)])], toInt32),
    totalLength: layers.op('Cast', [layers.op('Squeeze', [total])], toInt32),
  };
}

/** Rotation of queries and keys [batch, tokens, heads x headDim] by their positions. */
async function rotation(
  layers: Layers,
  { positions, headDim }: TextSpec,
  kind: Rotary,
  positionIds: string,
): Promise<Rotate> {
  const made = rotaryTables(positions, headDim, kind);
  const written = async (part: string, { rows, cosines, sines }: RotaryTables) => [
    await layers.floats(`cos_cache${part}`, [rows, headDim / 2], () => cosines),
    await layers.floats(`sin_cache${part}`, [rows, headDim / 2], () => sines),
  ];
  const tables = await written('', made);
  if (kind.sections) return gridRotation(layers, kind.sections, tables, positionIds);
  const rotate: (value: string, by: readonly string[]) => string = (value, by) =>
    layers.op('RotaryEmbedding', [value, positionIds, ...by], { domain: MICROSOFT });
  const { trained, scalesQueries } = kind;
  const ofQueries =
    scalesQueries && trained ? await written('_query', scaledTables(made, positions, trained)) : tables;
  return (value, part) => rotate(value, part === 'query' ? ofQueries : tables);
}

/**
 * Rotation by positions [3, batch, tokens]: each section of the frequencies by one of the three. Every token gets a row of tables
 * [batch x tokens, headDim / 2] of its own.
 */
function gridRotation(
  layers: Layers,
  sections: readonly number[],
  tables: readonly string[],
  positionIds: string,
): Rotate {
  const starts = sections.map((_, i) => sections.slice(0, i).reduce((sum, size) => sum + size, 0));
  const flat = layers.op('Reshape', [positionIds, layers.int64(3, -1)]);
  const rows = tables.map((table) =>
    layers.op(
      'Concat',
      sections.map((size, axis) => {
        const start = starts[axis]!;
        const part = layers.op('Slice', [
          table,
          layers.int64(start),
          layers.int64(start + size),
          layers.int64(1),
        ]);
        const places = layers.op('Gather', [flat, layers.op('Squeeze', [layers.int64(axis)])]);
        return layers.op('Gather', [part, places]);
      }),
      { attributes: { axis: 1 } },
    ),
  );
  const shape = layers.op('Shape', [positionIds], { attributes: { start: 1, end: 3 } });
  const scalar = (value: number) => layers.op('Squeeze', [layers.int64(value)]);
  const count = layers.op('ReduceProd', [shape, layers.int64(0)], { attributes: { keepdims: 0 } });
  const numbers = layers.op('Range', [scalar(0), count, scalar(1)]);
  const own = layers.op('Reshape', [numbers, shape]);
  return (value) => layers.op('RotaryEmbedding', [value, own, ...rows], { domain: MICROSOFT });
}
