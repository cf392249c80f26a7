import type { NeededTensor } from '../../reading/checkpoint.js';
import type { TextSpec } from './spec.js';

/** Where the tensors of a decoder are in a checkpoint; without `.weight`. */
export const layersOf = ({ prefix }: TextSpec) => `${prefix}model`;
export const headOf = ({ prefix }: TextSpec) => `${prefix}lm_head`;

/** The token embedding [vocabulary, hidden]. */
export function embeddingTensor(spec: TextSpec): NeededTensor {
  return { name: `${layersOf(spec)}.embed_tokens.weight`, shape: [spec.vocabulary, spec.hidden] };
}

export interface DecoderTensors {
  readonly all: readonly NeededTensor[];
  readonly output: string;
}

/**
 * The tensors of a decoder but for its embedding, and the name of the output product without `.weight`.
 * @param headStored whether the checkpoint has an output matrix of its own; if not, a tied model reads the embedding.
 */
export function decoderTensors(spec: TextSpec, headStored: boolean): DecoderTensors {
  const { hidden, intermediate, bias } = spec;
  const queries = spec.queryHeads * spec.headDim;
  const keys = spec.kvHeads * spec.headDim;
  const tensors: NeededTensor[] = [{ name: `${layersOf(spec)}.norm.weight`, shape: [hidden] }];
  for (let i = 0; i < spec.layers; i++) {
    const layer = `${layersOf(spec)}.layers.${i}`;
    tensors.push(
      { name: `${layer}.input_layernorm.weight`, shape: [hidden] },
      ...linear(`${layer}.self_attn.q_proj`, [queries, hidden], bias),
      ...linear(`${layer}.self_attn.k_proj`, [keys, hidden], bias),
      ...linear(`${layer}.self_attn.v_proj`, [keys, hidden], bias),
      { name: `${layer}.self_attn.o_proj.weight`, shape: [hidden, queries] },
      { name: `${layer}.post_attention_layernorm.weight`, shape: [hidden] },
      { name: `${layer}.mlp.gate_proj.weight`, shape: [intermediate, hidden] },
      { name: `${layer}.mlp.up_proj.weight`, shape: [intermediate, hidden] },
      { name: `${layer}.mlp.down_proj.weight`, shape: [hidden, intermediate] },
    );
    if (spec.headNorms) {
      for (const part of ['q', 'k'])
        tensors.push({ name: `${layer}.self_attn.${part}_norm.weight`, shape: [spec.headDim] });
    }
    if (!spec.gemma) continue;
    tensors.push(
      { name: `${layer}.pre_feedforward_layernorm.weight`, shape: [hidden] },
      { name: `${layer}.post_feedforward_layernorm.weight`, shape: [hidden] },
    );
  }
  const embedding = embeddingTensor(spec);
  const output = headStored || !spec.tied ? { ...embedding, name: `${headOf(spec)}.weight` } : embedding;
  return { all: [...tensors, output], output: output.name.replace(/\.weight$/, '') };
}

/** A weight [shape] and, unless told otherwise, its bias [first dimension]. */
export function linear(prefix: string, shape: readonly number[], bias = true): NeededTensor[] {
  const weight = { name: `${prefix}.weight`, shape };
  return bias ? [weight, { name: `${prefix}.bias`, shape: shape.slice(0, 1) }] : [weight];
}
