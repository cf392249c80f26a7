import { valueInfo } from '../../graph/onnx/builder.js';
import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import {
  type GridVisionSpec,
  gridVisionPrefix,
  patchWidth,
  type Qwen2VlSpec,
} from '../checkpoint/qwen2-vl-spec.js';
import { placesOfPatches } from './grid-places.js';
import { Layers, type ReadTensor, type WeightFormat } from './layers.js';
import type { OnnxFile } from './onnx-file.js';

const epsilon = 1e-6;

/**
 * Adds Qwen2-VL's vision tower:
 * `pixel_values` [patches, channels x frames x patchSize x patchSize] of all images, one after another, each in blocks of merge x
 * merge patches, and `grid_thw` [images, 3], frames, rows and columns of patches -> `image_features` [patches / merge^2, hidden of
 * the decoder]. Patches see those of their own frame.
 */
export async function buildGridVisionEncoder(
  file: OnnxFile,
  { vision, text }: Qwen2VlSpec,
  read: ReadTensor,
  format: WeightFormat,
): Promise<void> {
  const layers = new Layers(file, read, format);
  const { hidden, merge } = vision;
  const pixels = layers.enter(
    file.builder.input('pixel_values', DataType.FLOAT, ['patches', patchWidth(vision)]),
  );
  const grids = file.builder.input('grid_thw', DataType.INT64, ['images', 3]);
  const frames = await framesAndRotation(layers, pixels, grids, vision);
  const embedded = await layers.linear(pixels, `${gridVisionPrefix}.patch_embed.proj`, [
    hidden,
    patchWidth(vision),
  ]);
  let x = layers.op('Unsqueeze', [embedded, layers.int64(0)]);
  for (let i = 0; i < vision.layers; i++) x = await block(file, layers, x, vision, frames, i);
  const merger = `${gridVisionPrefix}.merger`;
  const merged = hidden * merge ** 2;
  x = await layers.layerNorm(x, `${merger}.ln_q`, hidden, epsilon);
  x = layers.op('Reshape', [x, layers.int64(-1, merged)]);
  x = layers.activation(await layers.linear(x, `${merger}.mlp.0`, [merged, merged], true), 'gelu');
  x = await layers.linear(x, `${merger}.mlp.2`, [text.hidden, merged], true);
  layers.leave(x, 'image_features');
  file.builder.output('image_features', DataType.FLOAT, ['tokens', text.hidden]);
}

interface Frames {
  /** Whether all patches are of one frame. */
  readonly single: string;
  /** 0 where two patches are of one frame, a large negative number elsewhere [1, 1, patches, patches]; made inside a branch. */
  readonly ids: string;
  rotate(value: string): string;
}

async function framesAndRotation(
  layers: Layers,
  pixels: string,
  grids: string,
  { hidden, heads, merge }: GridVisionSpec,
): Promise<Frames> {
  const { frame, row, column, indexes } = placesOfPatches(layers, pixels, grids, merge);
  const width = hidden / heads;
  const count = width / 4;
  const frequencies = await layers.float32(
    'frequencies',
    [1, count],
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
  const last = layers.op('ReduceMax', [frame, layers.int64(0)], { attributes: { keepdims: 0 } });
  return {
    single: layers.op('Equal', [last, layers.op('Squeeze', [layers.int64(0)])]),
    ids: frame,
    rotate: (value) => layers.op('RotaryEmbedding', [value, positions, ...tables], { domain: MICROSOFT }),
  };
}

async function block(
  file: OnnxFile,
  layers: Layers,
  x: string,
  spec: GridVisionSpec,
  frames: Frames,
  index: number,
): Promise<string> {
  const { hidden, intermediate } = spec;
  const prefix = `${gridVisionPrefix}.blocks.${index}`;
  const a = await layers.layerNorm(x, `${prefix}.norm1`, hidden, epsilon);
  const qkv = await layers.linear(a, `${prefix}.attn.qkv`, [3 * hidden, hidden], true);
  const [q = '', k = '', v = ''] = file.builder.ops('Split', [qkv], {
    attributes: { axis: -1, num_outputs: 3 },
    outputs: 3,
  });
  const attended = attention(file, layers, frames.rotate(q), frames.rotate(k), v, spec, frames);
  const y = layers.op('Add', [
    x,
    await layers.linear(attended, `${prefix}.attn.proj`, [hidden, hidden], true),
  ]);
  const b = await layers.layerNorm(y, `${prefix}.norm2`, hidden, epsilon);
  const up = layers.activation(
    await layers.linear(b, `${prefix}.mlp.fc1`, [intermediate, hidden], true),
    spec.activation,
  );
  return layers.op('Add', [y, await layers.linear(up, `${prefix}.mlp.fc2`, [hidden, intermediate], true)]);
}

/** A bias takes memory that grows with the square of the patches, and one image needs none: it is made for several only. */
function attention(
  { builder }: OnnxFile,
  layers: Layers,
  q: string,
  k: string,
  v: string,
  { heads, hidden }: GridVisionSpec,
  { single, ids }: Frames,
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
  const alone = branch('one_frame', (inner) => inner.op('MultiHeadAttention', [q, k, v], options));
  const several = branch('several_frames', (inner) => {
    const same = inner.op('Equal', [
      inner.op('Unsqueeze', [ids, second]),
      inner.op('Unsqueeze', [ids, first]),
    ]);
    const bias = inner.op('Unsqueeze', [inner.op('Where', [same, zero, least]), layers.int64(0, 1)]);
    return inner.op('MultiHeadAttention', [q, k, v, undefined, undefined, bias], options);
  });
  return layers.op('If', [single], { attributes: { then_branch: alone, else_branch: several } });
}
