import type { NeededTensor } from './checkpoint.js';
import type { LlavaSpec, TextSpec, VisionSpec } from './llava-spec.js';

export const visionPrefix = 'vision_tower.vision_model';
export const projectorPrefix = 'multi_modal_projector';
export const decoderPrefix = 'language_model.model';
export const embedding = `${decoderPrefix}.embed_tokens.weight`;
export const head = 'language_model.lm_head.weight';

/** Which tensors each of the three graphs of a LLaVA model reads, by the names of transformers' LlavaForConditionalGeneration. */
export interface LlavaTensors {
  readonly visionEncoder: readonly NeededTensor[];
  readonly embedTokens: readonly NeededTensor[];
  readonly decoder: readonly NeededTensor[];
}

/** @param headStored whether the checkpoint has an output matrix of its own; if not, a tied model reads the embedding. */
export function llavaTensors(spec: LlavaSpec, headStored: boolean): LlavaTensors {
  const { text, vision } = spec;
  const embed = { name: embedding, shape: [text.vocabulary, text.hidden] };
  const output = headStored || !text.tied ? { ...embed, name: head } : embed;
  return {
    visionEncoder: [...visionTensors(vision), ...projectorTensors(spec)],
    embedTokens: [embed],
    decoder: [...decoderTensors(text), output],
  };
}

function visionTensors(spec: VisionSpec): NeededTensor[] {
  const { hidden, intermediate, patchSize } = spec;
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
  for (let i = 0; i < spec.layers; i++) {
    const layer = `${visionPrefix}.encoder.layers.${i}`;
    tensors.push(...linear(`${layer}.layer_norm1`, [hidden]), ...linear(`${layer}.layer_norm2`, [hidden]));
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
      tensors.push(...linear(`${layer}.self_attn.${name}`, [hidden, hidden]));
    tensors.push(
      ...linear(`${layer}.mlp.fc1`, [intermediate, hidden]),
      ...linear(`${layer}.mlp.fc2`, [hidden, intermediate]),
    );
  }
  return tensors;
}

function projectorTensors({ vision, text, projector }: LlavaSpec): NeededTensor[] {
  return [
    ...linear(`${projectorPrefix}.linear_1`, [text.hidden, vision.hidden], projector.bias),
    ...linear(`${projectorPrefix}.linear_2`, [text.hidden, text.hidden], projector.bias),
  ];
}

function decoderTensors(spec: TextSpec): NeededTensor[] {
  const { hidden, intermediate } = spec;
  const queries = spec.queryHeads * spec.headDim;
  const keys = spec.kvHeads * spec.headDim;
  const tensors: NeededTensor[] = [{ name: `${decoderPrefix}.norm.weight`, shape: [hidden] }];
  for (let i = 0; i < spec.layers; i++) {
    const layer = `${decoderPrefix}.layers.${i}`;
    tensors.push(
      { name: `${layer}.input_layernorm.weight`, shape: [hidden] },
      { name: `${layer}.self_attn.q_proj.weight`, shape: [queries, hidden] },
      { name: `${layer}.self_attn.k_proj.weight`, shape: [keys, hidden] },
      { name: `${layer}.self_attn.v_proj.weight`, shape: [keys, hidden] },
      { name: `${layer}.self_attn.o_proj.weight`, shape: [hidden, queries] },
      { name: `${layer}.post_attention_layernorm.weight`, shape: [hidden] },
      { name: `${layer}.mlp.gate_proj.weight`, shape: [intermediate, hidden] },
      { name: `${layer}.mlp.up_proj.weight`, shape: [intermediate, hidden] },
      { name: `${layer}.mlp.down_proj.weight`, shape: [hidden, intermediate] },
    );
  }
  return tensors;
}

/** A weight [shape] and, unless told otherwise, its bias [first dimension]. */
function linear(prefix: string, shape: readonly number[], bias = true): NeededTensor[] {
  const weight = { name: `${prefix}.weight`, shape };
  return bias ? [weight, { name: `${prefix}.bias`, shape: shape.slice(0, 1) }] : [weight];
}
