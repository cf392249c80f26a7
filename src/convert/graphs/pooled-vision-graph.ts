import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import {
  pooledVisionPrefix,
  poolPrefix,
  type QwenVlSpec,
  storedPositions,
} from '../checkpoint/qwen-vl/spec.js';
import type { OnnxFile } from '../writing/onnx-file.js';
import { enlargedTable } from './enlarged-table.js';
import { Layers, type ReadTensor, type WeightFormat } from './layers.js';
import { encoderLayer, patches } from './vision-graph.js';

const epsilon = 1e-6;

/**
 * Adds Qwen-VL's tower and its resampler: `pixel_values` [images, channels, imageSize, imageSize] -> `image_features` [images, queries,
 * hidden of the decoder]. Tables of positions are smaller than a picture's grid of patches, and are enlarged here, once and for all.
 */
export async function buildPooledVisionEncoder(
  file: OnnxFile,
  spec: QwenVlSpec,
  read: ReadTensor,
  format: WeightFormat,
): Promise<void> {
  const layers = new Layers(file, read, format);
  const { vision, pool, text } = spec;
  const { hidden, imageSize, patchSize, channels } = vision;
  const pixels = layers.enter(
    file.builder.input('pixel_values', DataType.FLOAT, ['batch_size', channels, imageSize, imageSize]),
  );
  const side = imageSize / patchSize;
  const table = async (name: string, places: number, width: number) =>
    layers.floats(name, [side ** 2, width], async () =>
      enlargedTable(await read(name), Math.sqrt(places), side),
    );
  let x = layers.op('Add', [
    await patches(layers, pixels, `${pooledVisionPrefix}.conv1`, vision),
    await table(`${pooledVisionPrefix}.positional_embedding`, storedPositions, hidden),
  ]);
  x = await layers.layerNorm(x, `${pooledVisionPrefix}.ln_pre`, hidden, epsilon);
  for (let i = 0; i < vision.layers; i++)
    x = await encoderLayer(layers, x, vision, `${pooledVisionPrefix}.layers.${i}`);
  x = await pooled(layers, x, spec, await table(`${poolPrefix}.pos_embed`, pool.queries, text.hidden));
  x = await layers.layerNorm(x, `${pooledVisionPrefix}.ln_post`, text.hidden, epsilon);
  x = await layers.product(x, `${pooledVisionPrefix}.proj`, [text.hidden, text.hidden]);
  layers.leave(x, 'image_features');
  file.builder.output('image_features', DataType.FLOAT, ['batch_size', pool.queries, text.hidden]);
}

/**
 * One cross attention of learned queries over all patches [images, patches, hidden] -> [images, queries, output]. Keys know their place,
 * by a table `places` [patches, output], values do not.
 */
async function pooled(
  layers: Layers,
  x: string,
  { vision, pool, text }: QwenVlSpec,
  places: string,
): Promise<string> {
  const output = text.hidden;
  const square = [output, output] as const;
  const project = (value: string, name: string) =>
    layers.linear(value, `${poolPrefix}.${name}`, square, true);
  const given =
    vision.hidden === output ? x : await layers.linear(x, `${poolPrefix}.kv_proj`, [output, vision.hidden]);
  const values = await layers.layerNorm(given, `${poolPrefix}.ln_kv`, output, epsilon);
  const keys = layers.op('Add', [values, places]);
  const shape = [1, pool.queries, output];
  const query = await layers.layerNorm(
    await layers.tensor(`${poolPrefix}.query`, shape),
    `${poolPrefix}.ln_q`,
    output,
    epsilon,
  );
  const placed = layers.op('Add', [query, await layers.tensor(`${poolPrefix}.pos_embed`, shape)]);
  const images = layers.op('Shape', [x], { attributes: { start: 0, end: 1 } });
  const queries = layers.op('Expand', [
    await project(placed, 'q_proj'),
    layers.op('Concat', [images, layers.int64(1, 1)], { attributes: { axis: 0 } }),
  ]);
  const attended = layers.op(
    'MultiHeadAttention',
    [queries, await project(keys, 'k_proj'), await project(values, 'v_proj')],
    { domain: MICROSOFT, attributes: { num_heads: pool.heads } },
  );
  return project(attended, 'attn.out_proj');
}
