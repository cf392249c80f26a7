import { DataType } from '../../graph/onnx/onnx.js';
import { connector, type Idefics3Spec, tiledVisionPrefix } from '../checkpoint/idefics3/spec.js';
import type { OnnxFile } from '../writing/onnx-file.js';
import { Layers, type ReadTensor, type WeightFormat } from './layers.js';
import { encoderLayer, patches } from './vision-graph.js';

/**
 * Adds SigLIP's tower and Idefics3's connector: `pixel_values` [prompts, tiles, channels, imageSize, imageSize] ->
 * `image_features` [tiles of all prompts, tokens, hidden of the decoder]. Tiles of nothing but 0 fill up a prompt that has fewer: they
 * are left out.
 */
export async function buildTiledVisionEncoder(
  file: OnnxFile,
  { vision, scale, tokens, text }: Idefics3Spec,
  read: ReadTensor,
  format: WeightFormat,
): Promise<void> {
  const layers = new Layers(file, read, format);
  const { hidden, imageSize, patchSize, channels } = vision;
  const pixels = layers.enter(
    file.builder.input('pixel_values', DataType.FLOAT, [
      'batch_size',
      'num_images',
      channels,
      imageSize,
      imageSize,
    ]),
  );
  const tiles = filledTiles(
    layers,
    layers.op('Reshape', [pixels, layers.int64(-1, channels, imageSize, imageSize)]),
  );
  const embeddings = `${tiledVisionPrefix}.embeddings`;
  const side = Math.floor(imageSize / patchSize);
  let x = await patches(layers, tiles, `${embeddings}.patch_embedding`, vision, true);
  x = layers.op('Add', [
    x,
    await layers.tensor(`${embeddings}.position_embedding.weight`, [side ** 2, hidden]),
  ]);
  for (let i = 0; i < vision.layers; i++)
    x = await encoderLayer(layers, x, vision, `${tiledVisionPrefix}.encoder.layers.${i}`);
  x = await layers.layerNorm(x, `${tiledVisionPrefix}.post_layernorm`, hidden, vision.epsilon);
  x = await layers.linear(shuffled(layers, x, side, scale, hidden), connector, [
    text.hidden,
    hidden * scale ** 2,
  ]);
  layers.leave(x, 'image_features');
  file.builder.output('image_features', DataType.FLOAT, ['tiles', tokens, text.hidden]);
}

/** The tiles [tiles, channels, imageSize, imageSize] that are not all 0. */
function filledTiles(layers: Layers, tiles: string): string {
  const largest = layers.op('ReduceMax', [layers.op('Abs', [tiles]), layers.int64(1, 2, 3)], {
    attributes: { keepdims: 0 },
  });
  return layers.op('Compress', [tiles, layers.op('Greater', [largest, layers.scalar(0)])], {
    attributes: { axis: 0 },
  });
}

/** Squares of scale x scale patches side by side in one row: [tiles, side^2, hidden] -> [tiles, (side / scale)^2, hidden x scale^2]. */
function shuffled(layers: Layers, x: string, side: number, scale: number, hidden: number): string {
  const transposed = (value: string) =>
    layers.op('Transpose', [value], { attributes: { perm: [0, 2, 1, 3] } });
  const reshaped = (value: string, ...dims: number[]) => layers.op('Reshape', [value, layers.int64(...dims)]);
  const columns = transposed(reshaped(x, 0, side, side / scale, hidden * scale));
  const rows = transposed(reshaped(columns, 0, side / scale, side / scale, hidden * scale ** 2));
  return reshaped(rows, 0, (side / scale) ** 2, hidden * scale ** 2);
}
