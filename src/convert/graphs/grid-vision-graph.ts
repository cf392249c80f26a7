import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import {
  type GridVisionSpec,
  gridVisionPrefix,
  patchWidth,
  type Qwen2VlSpec,
} from '../checkpoint/qwen2-vl/spec.js';
import type { OnnxFile } from '../writing/onnx-file.js';
import { type PlacesOfPatches, placesOfPatches } from './grid-places.js';
import { type Groups, groupedAttention, groups } from './grouped-attention.js';
import { Layers, type ReadTensor, type WeightFormat } from './layers.js';

const epsilon = 1e-6;

/**
 * Adds Qwen2-VL's vision tower or Qwen2.5-VL's:
 * `pixel_values` [patches, channels x frames x patchSize x patchSize] of all images, one after another, each in blocks of merge x
 * merge patches, and `grid_thw` (`image_grid_thw`) [images, 3], frames, rows and columns of patches -> `image_features` [patches / merge^2, hidden of
 * the decoder]. Patches see those of their own frame, in most layers of Qwen2.5-VL those of their own window.
 */
export async function buildGridVisionEncoder(
  file: OnnxFile,
  { kind, vision, text }: Qwen2VlSpec,
  read: ReadTensor,
  format: WeightFormat,
): Promise<void> {
  const layers = new Layers(file, read, format);
  const { hidden, merge } = vision;
  const pixels = layers.enter(
    file.builder.input('pixel_values', DataType.FLOAT, ['patches', patchWidth(vision)]),
  );
  const grids = file.builder.input(kind === 'qwen2_vl' ? 'grid_thw' : 'image_grid_thw', DataType.INT64, [
    'images',
    3,
  ]);
  const places = await placesAndRotation(layers, pixels, grids, vision);
  const embedded = await layers.linear(pixels, `${gridVisionPrefix}.patch_embed.proj`, [
    hidden,
    patchWidth(vision),
  ]);
  let x = layers.op('Unsqueeze', [embedded, layers.int64(0)]);
  for (let i = 0; i < vision.layers; i++) x = await block(file, layers, x, vision, places, i);
  const merger = `${gridVisionPrefix}.merger`;
  const merged = hidden * merge ** 2;
  x = await norm(layers, x, `${merger}.ln_q`, vision);
  x = layers.op('Reshape', [x, layers.int64(-1, merged)]);
  x = layers.activation(await layers.linear(x, `${merger}.mlp.0`, [merged, merged], true), 'gelu');
  x = await layers.linear(x, `${merger}.mlp.2`, [text.hidden, merged], true);
  layers.leave(x, 'image_features');
  file.builder.output('image_features', DataType.FLOAT, ['tokens', text.hidden]);
}

interface Places {
  readonly frames: Groups;
  readonly windows: Groups;
  rotate(value: string): string;
}

async function placesAndRotation(
  layers: Layers,
  pixels: string,
  grids: string,
  { hidden, heads, merge, window }: GridVisionSpec,
): Promise<Places> {
  const { frame, row, column, inFrame, indexes } = placesOfPatches(layers, pixels, grids, merge);
  const width = hidden / heads;
  const count = width / 4;
  const frequencies = await layers.float32('frequencies', [1, count], () =>
    Float32Array.from({ length: count }, (_, j) => 10000 ** ((-2 * j) / (width / 2))),
  );
  const turned = (place: string) => {
    const angles = layers.op('Unsqueeze', [place, layers.int64(1)]);
    return layers.op('Mul', [
      layers.op('Cast', [angles], { attributes: { to: DataType.FLOAT } }),
      frequencies,
    ]);
  };
  const angles = layers.op('Concat', [turned(row), turned(column)], { attributes: { axis: 1 } });
  const tables = [layers.enter(layers.op('Cos', [angles])), layers.enter(layers.op('Sin', [angles]))];
  const positions = layers.op('Unsqueeze', [indexes, layers.int64(0)]);
  const largest = layers.op('ReduceMax', [inFrame, layers.int64(0)], { attributes: { keepdims: 1 } });
  const frameSize = layers.op('Add', [largest, layers.int64(1)]);
  const frames = {
    ...groups(layers, frame, inFrame, indexes, frameSize),
    single: layers.op('Equal', [
      layers.op('ReduceMax', [frame, layers.int64(0)], { attributes: { keepdims: 0 } }),
      layers.op('Squeeze', [layers.int64(0)]),
    ]),
  };
  return {
    frames,
    windows: window ? windows(layers, { frame, row, column, indexes }, window.side) : frames,
    rotate: (value) => layers.op('RotaryEmbedding', [value, positions, ...tables], { domain: MICROSOFT }),
  };
}

/** Patches of one frame in the same square of side x side. */
function windows(
  layers: Layers,
  { frame, row, column, indexes }: Omit<PlacesOfPatches, 'inFrame'>,
  side: number,
): Groups {
  const length = layers.int64(side);
  const joined = (a: string, by: number, b: string) =>
    layers.op('Add', [layers.op('Mul', [a, layers.int64(by)]), b]);
  const split = (place: string) => ['Div', 'Mod'].map((type) => layers.op(type, [place, length]));
  const [[windowRow = '', ownRow = ''], [windowColumn = '', ownColumn = '']] = [split(row), split(column)];
  // No picture has as many windows along a side.
  const many = 1 << 20;
  const ids = joined(joined(frame, many, windowRow), many, windowColumn);
  return groups(layers, ids, joined(ownRow, side, ownColumn), indexes, layers.int64(side ** 2));
}

async function block(
  file: OnnxFile,
  layers: Layers,
  x: string,
  spec: GridVisionSpec,
  places: Places,
  index: number,
): Promise<string> {
  const { hidden, window } = spec;
  const prefix = `${gridVisionPrefix}.blocks.${index}`;
  const a = await norm(layers, x, `${prefix}.norm1`, spec);
  const qkv = await layers.linear(a, `${prefix}.attn.qkv`, [3 * hidden, hidden], true);
  const [q = '', k = '', v = ''] = file.builder.ops('Split', [qkv], {
    attributes: { axis: -1, num_outputs: 3 },
    outputs: 3,
  });
  const seen = !window || window.whole.includes(index) ? places.frames : places.windows;
  const rotated = [places.rotate(q), places.rotate(k), v] as const;
  const attended = groupedAttention(file.builder, layers, rotated, spec, seen);
  const y = layers.op('Add', [
    x,
    await layers.linear(attended, `${prefix}.attn.proj`, [hidden, hidden], true),
  ]);
  const b = await norm(layers, y, `${prefix}.norm2`, spec);
  return layers.op('Add', [y, await feedForward(layers, b, `${prefix}.mlp`, spec)]);
}

async function feedForward(
  layers: Layers,
  x: string,
  prefix: string,
  { hidden, intermediate, activation }: GridVisionSpec,
): Promise<string> {
  const widen = (name: string) => layers.linear(x, `${prefix}.${name}`, [intermediate, hidden], true);
  const [inner, last] =
    activation === 'silu'
      ? [layers.op('Mul', [silu(layers, await widen('gate_proj')), await widen('up_proj')]), 'down_proj']
      : [layers.activation(await widen('fc1'), activation), 'fc2'];
  return layers.linear(inner, `${prefix}.${last}`, [hidden, intermediate], true);
}

const silu = (layers: Layers, x: string) => layers.op('Mul', [x, layers.op('Sigmoid', [x])]);

/** Qwen2-VL's norm, or Qwen2.5-VL's by the root mean square. */
async function norm(
  layers: Layers,
  x: string,
  prefix: string,
  { hidden, window }: GridVisionSpec,
): Promise<string> {
  if (!window) return layers.layerNorm(x, prefix, hidden, epsilon);
  return layers.op('SimplifiedLayerNormalization', [x, await layers.tensor(`${prefix}.weight`, [hidden])], {
    attributes: { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
  });
}
