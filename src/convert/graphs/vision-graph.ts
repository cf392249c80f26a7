import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import type { LlavaSpec, VisionSpec } from '../checkpoint/llava/spec.js';
import { projectorPrefix, visionPrefix } from '../checkpoint/llava/tensors.js';
import type { OnnxFile } from '../writing/onnx-file.js';
import { Layers, type ReadTensor, type WeightFormat } from './layers.js';

/**
 * Adds CLIP's vision tower up to the feature layer and LLaVA's projector:
 * `pixel_values` [images, channels, imageSize, imageSize] -> `image_features` [images, tokens, hidden of the decoder].
 */
export async function buildVisionEncoder(
  file: OnnxFile,
  { vision, projector, text }: LlavaSpec,
  read: ReadTensor,
  format: WeightFormat,
): Promise<void> {
  const layers = new Layers(file, read, format);
  const { hidden, imageSize, patchSize } = vision;
  const pixels = layers.enter(
    file.builder.input('pixel_values', DataType.FLOAT, ['batch_size', vision.channels, imageSize, imageSize]),
  );
  let x = await embedPatches(layers, pixels, vision);
  for (let i = 0; i < vision.layers; i++)
    x = await encoderLayer(layers, x, vision, `${visionPrefix}.encoder.layers.${i}`);
  let tokens = Math.floor(imageSize / patchSize) ** 2 + 1;
  if (vision.dropClassToken) {
    x = layers.op('Slice', [x, layers.int64(1), layers.int64(tokens), layers.int64(1)]);
    tokens--;
  }
  x = await layers.linear(x, `${projectorPrefix}.linear_1`, [text.hidden, hidden], projector.bias);
  x = layers.activation(x, projector.activation);
  x = await layers.linear(x, `${projectorPrefix}.linear_2`, [text.hidden, text.hidden], projector.bias);
  layers.leave(x, 'image_features');
  file.builder.output('image_features', DataType.FLOAT, ['batch_size', tokens, text.hidden]);
}

async function embedPatches(layers: Layers, pixels: string, spec: VisionSpec): Promise<string> {
  const { hidden, patchSize } = spec;
  const embeddings = `${visionPrefix}.embeddings`;
  const embedded = await patches(layers, pixels, `${embeddings}.patch_embedding`, spec);
  const images = layers.op('Shape', [pixels], { attributes: { start: 0, end: 1 } });
  const classToken = layers.op('Expand', [
    await layers.tensor(`${embeddings}.class_embedding`, [1, 1, hidden]),
    layers.op('Concat', [images, layers.int64(1, hidden)], { attributes: { axis: 0 } }),
  ]);
  const positions = Math.floor(spec.imageSize / patchSize) ** 2 + 1;
  const x = layers.op('Add', [
    layers.op('Concat', [classToken, embedded], { attributes: { axis: 1 } }),
    await layers.tensor(`${embeddings}.position_embedding.weight`, [positions, hidden]),
  ]);
  return layers.layerNorm(x, `${visionPrefix}.pre_layrnorm`, hidden, spec.epsilon);
}

/** Adds the patches of pictures, each a product with the kernels `<prefix>.weight`: [images, channels, side, side] -> [images, patches, hidden]. */
export async function patches(
  layers: Layers,
  pixels: string,
  prefix: string,
  { hidden, patchSize, channels }: Pick<VisionSpec, 'hidden' | 'patchSize' | 'channels'>,
  bias = false,
): Promise<string> {
  const kernel = await layers.tensor(`${prefix}.weight`, [hidden, channels, patchSize, patchSize]);
  const biases = bias ? [await layers.tensor(`${prefix}.bias`, [hidden])] : [];
  const grid = layers.op('Conv', [pixels, kernel, ...biases], {
    attributes: { kernel_shape: [patchSize, patchSize], strides: [patchSize, patchSize] },
  });
  return layers.op('Transpose', [layers.op('Reshape', [grid, layers.int64(0, hidden, -1)])], {
    attributes: { perm: [0, 2, 1] },
  });
}

/** Adds a layer of CLIP's or SigLIP's tower over `x` [images, tokens, hidden]. */
export async function encoderLayer(
  layers: Layers,
  x: string,
  spec: Omit<VisionSpec, 'dropClassToken'>,
  layer: string,
): Promise<string> {
  const { hidden, intermediate, heads, epsilon } = spec;
  const square = [hidden, hidden] as const;
  const a = await layers.layerNorm(x, `${layer}.layer_norm1`, hidden, epsilon);
  const q = await layers.linear(a, `${layer}.self_attn.q_proj`, square, true);
  const k = await layers.linear(a, `${layer}.self_attn.k_proj`, square, true);
  const v = await layers.linear(a, `${layer}.self_attn.v_proj`, square, true);
  const attended = layers.op('MultiHeadAttention', [q, k, v], {
    domain: MICROSOFT,
    attributes: { num_heads: heads },
  });
  const y = layers.op('Add', [x, await layers.linear(attended, `${layer}.self_attn.out_proj`, square, true)]);
  const b = await layers.layerNorm(y, `${layer}.layer_norm2`, hidden, epsilon);
  const up = layers.activation(
    await layers.linear(b, `${layer}.mlp.fc1`, [intermediate, hidden], true),
    spec.activation,
  );
  return layers.op('Add', [y, await layers.linear(up, `${layer}.mlp.fc2`, [hidden, intermediate], true)]);
}
