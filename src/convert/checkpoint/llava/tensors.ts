import type { NeededTensor, Spellings } from '../../reading/checkpoint.js';
import { linear } from '../text/tensors.js';
import type { LlavaSpec, VisionSpec } from './spec.js';

export const visionPrefix = 'vision_tower.vision_model';
export const projectorPrefix = 'multi_modal_projector';

/**
 * Newer transformers name the parts of a LLaVA model in another order; both spellings are on the Hub,
 * and the older one is canonical here
 * (`_checkpoint_conversion_mapping` of transformers' LlavaForConditionalGeneration).
 */
export const spellings: Spellings = [
  [/^model\.language_model\./, 'language_model.model.'],
  [/^lm_head\./, 'language_model.lm_head.'],
  [/^model\.vision_tower\./, 'vision_tower.'],
  [/^model\.multi_modal_projector\./, 'multi_modal_projector.'],
  // Version 5 has no inner model in the tower.
  [/^vision_tower\.(?!vision_model\.)/, 'vision_tower.vision_model.'],
];

/** What the vision encoder reads, projector included, by the names of transformers' LlavaForConditionalGeneration. */
export function visionEncoderTensors(spec: LlavaSpec): NeededTensor[] {
  return [...visionTensors(spec.vision), ...projectorTensors(spec)];
}

function visionTensors(spec: VisionSpec): NeededTensor[] {
  const { hidden, patchSize } = spec;
  const embeddings = `${visionPrefix}.embeddings`;
  const tensors: NeededTensor[] = [
    { name: `${embeddings}.class_embedding`, shape: [hidden] },
    { name: `${embeddings}.patch_embedding.weight`, shape: [hidden, spec.channels, patchSize, patchSize] },
    {
      name: `${embeddings}.position_embedding.weight`,
      shape: [Math.floor(spec.imageSize / patchSize) ** 2 + 1, hidden],
    },
    // The typing error is the checkpoint's own.
    ...linear(`${visionPrefix}.pre_layrnorm`, [hidden]),
  ];
  for (let i = 0; i < spec.layers; i++)
    tensors.push(...encoderLayerTensors(`${visionPrefix}.encoder.layers.${i}`, spec));
  return tensors;
}

/** A layer of CLIP's or SigLIP's tower. */
export function encoderLayerTensors(
  layer: string,
  { hidden, intermediate }: Pick<VisionSpec, 'hidden' | 'intermediate'>,
): NeededTensor[] {
  const projections = ['q_proj', 'k_proj', 'v_proj', 'out_proj'];
  return [
    ...linear(`${layer}.layer_norm1`, [hidden]),
    ...linear(`${layer}.layer_norm2`, [hidden]),
    ...projections.flatMap((name) => linear(`${layer}.self_attn.${name}`, [hidden, hidden])),
    ...linear(`${layer}.mlp.fc1`, [intermediate, hidden]),
    ...linear(`${layer}.mlp.fc2`, [hidden, intermediate]),
  ];
}

function projectorTensors({ vision, text, projector }: LlavaSpec): NeededTensor[] {
  return [
    ...linear(`${projectorPrefix}.linear_1`, [text.hidden, vision.hidden], projector.bias),
    ...linear(`${projectorPrefix}.linear_2`, [text.hidden, text.hidden], projector.bias),
  ];
}
