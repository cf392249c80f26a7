import { valueInfo } from '../../graph/onnx/builder.js';
import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import {
  type GridVisionSpec,
  gridVisionPrefix,
  patchWidth,
  type Qwen2VlSpec,
} from '../checkpoint/qwen2-vl/spec.js';
import type { OnnxFile } from '../writing/onnx-file.js';
import { placesOfPatches } from './grid-places.js';
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

/** What patches see of each other. */
interface Groups {
  /** Patches with the same number see each other; int64 [patches]. */
  readonly ids: string;
  /** Whether there is only one number, 0. */
  readonly single: string;
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
  const { frame, row, column, indexes } = placesOfPatches(layers, pixels, grids, merge);
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
  const group = (ids: string): Groups => {
    const last = layers.op('ReduceMax', [ids, layers.int64(0)], { attributes: { keepdims: 0 } });
    return { ids, single: layers.op('Equal', [last, layers.op('Squeeze', [layers.int64(0)])]) };
  };
  // No picture has as many windows along a side.
  const joined = (a: string, b: string) =>
    layers.op('Add', [layers.op('Mul', [a, layers.int64(1 << 20)]), b]);
  const within = (place: string) => layers.op('Div', [place, layers.int64(window?.side ?? 1)]);
  const frames = group(frame);
  return {
    frames,
    windows: window ? group(joined(joined(frame, within(row)), within(column))) : frames,
    rotate: (value) => layers.op('RotaryEmbedding', [value, positions, ...tables], { domain: MICROSOFT }),
  };
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
  const groups = !window || window.whole.includes(index) ? places.frames : places.windows;
  const attended = attention(file, layers, places.rotate(q), places.rotate(k), v, spec, groups);
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

/** A bias takes memory that grows with the square of the patches, and one group needs none: it is made for several only. */
function attention(
  { builder }: OnnxFile,
  layers: Layers,
  q: string,
  k: string,
  v: string,
  { heads, hidden }: GridVisionSpec,
  { single, ids }: Groups,
): string {
  const options = { domain: MICROSOFT, attributes: { num_heads: heads } };
  // Only constants of the outer graph, which both branches see.
  const [first, second] = [layers.int64(0), layers.int64(1)];
  const [zero, least] = [layers.scalar(0), layers.scalar(-65504)];
  const branch = (name: string, make: (inner: typeof builder) => string) => {
    const inner = builder.branch(name);
    inner.graph.output.push(valueInfo(make(inner), layers.real, [1, 'patches', hidden]));
    return { graph: inner.graph };
  };
  const alone = branch('one_group', (inner) => inner.op('MultiHeadAttention', [q, k, v], options));
  const several = branch('several_groups', (inner) => {
    const same = inner.op('Equal', [
      inner.op('Unsqueeze', [ids, second]),
      inner.op('Unsqueeze', [ids, first]),
    ]);
    const bias = inner.op('Unsqueeze', [inner.op('Where', [same, zero, least]), layers.int64(0, 1)]);
    return inner.op('MultiHeadAttention', [q, k, v, undefined, undefined, bias], options);
  });
  return layers.op('If', [single], { attributes: { then_branch: alone, else_branch: several } });
}
