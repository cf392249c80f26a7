import { MICROSOFT } from '../../graph/onnx/onnx.js';
import type { TextSpec } from '../checkpoint/text/spec.js';
import { layersOf } from '../checkpoint/text/tensors.js';
import type { Layers } from './layers.js';

/** Turns queries or keys [batch, tokens, heads x headDim] by their positions. */
export type Rotate = (value: string, part: 'query' | 'key') => string;

/** What a layer takes beside the hidden states. */
export interface LayerInputs {
  /** The index of each row's last token [batch], int32. */
  readonly lastIndex: string;
  /** Tokens held and new, int32. */
  readonly totalLength: string;
  readonly rotate: Rotate;
}

/** Adds layer `index` over hidden states `x` [batch, tokens, hidden]; its cache goes by transformers.js's names. */
export async function decoderLayer(
  layers: Layers,
  x: string,
  spec: TextSpec,
  inputs: LayerInputs,
  index: number,
): Promise<string> {
  const { hidden, intermediate, gemma } = spec;
  const layer = `${layersOf(spec)}.layers.${index}`;
  const norm = (value: string, name: string) => rmsNorm(layers, value, `${layer}.${name}`, hidden, spec);
  const attended = await attention(layers, await norm(x, 'input_layernorm'), spec, inputs, index);
  const y = layers.op('Add', [x, gemma ? await norm(attended, 'post_attention_layernorm') : attended]);
  const b = await norm(y, gemma ? 'pre_feedforward_layernorm' : 'post_attention_layernorm');
  const gate = await layers.linear(b, `${layer}.mlp.gate_proj`, [intermediate, hidden]);
  const up = await layers.linear(b, `${layer}.mlp.up_proj`, [intermediate, hidden]);
  const opened = gemma
    ? layers.op('Gelu', [gate], { attributes: { approximate: 'tanh' } })
    : layers.op('Mul', [gate, layers.op('Sigmoid', [gate])]);
  const product = layers.op('Mul', [opened, up]);
  const down = await layers.linear(product, `${layer}.mlp.down_proj`, [hidden, intermediate]);
  return layers.op('Add', [y, gemma ? await norm(down, 'post_feedforward_layernorm') : down]);
}

async function attention(
  layers: Layers,
  x: string,
  spec: TextSpec,
  inputs: LayerInputs,
  index: number,
): Promise<string> {
  const { hidden, queryHeads, kvHeads, headDim, bias, headNorms, gemma } = spec;
  const window = spec.windows?.[index];
  const prefix = `${layersOf(spec)}.layers.${index}.self_attn`;
  const project = (part: string, heads: number) =>
    layers.linear(x, `${prefix}.${part}_proj`, [heads * headDim, hidden], bias);
  const normed = async (value: string, part: string) => {
    if (!headNorms) return value;
    const heads = layers.op('Reshape', [value, layers.int64(0, 0, -1, headDim)]);
    const rows = await rmsNorm(layers, heads, `${prefix}.${part}_norm`, headDim, spec);
    return layers.op('Reshape', [rows, layers.int64(0, 0, -1)]);
  };
  const query = inputs.rotate(await normed(await project('q', queryHeads), 'q'), 'query');
  const key = inputs.rotate(await normed(await project('k', kvHeads), 'k'), 'key');
  const value = await project('v', kvHeads);
  const past = [`past_key_values.${index}.key`, `past_key_values.${index}.value`];
  const attended = `${prefix}.attended`;
  layers.op('GroupQueryAttention', [query, key, value, ...past, inputs.lastIndex, inputs.totalLength], {
    domain: MICROSOFT,
    attributes: {
      num_heads: queryHeads,
      kv_num_heads: kvHeads,
      do_rotary: 0,
      ...(gemma && { scale: { float: gemma.scale } }),
      ...(window !== undefined && { local_window_size: window }),
    },
    outputs: [attended, `present.${index}.key`, `present.${index}.value`],
  });
  return layers.linear(attended, `${prefix}.o_proj`, [hidden, queryHeads * headDim]);
}

/** The root mean square norm of rows `width` wide. */
export async function rmsNorm(
  layers: Layers,
  x: string,
  prefix: string,
  width: number,
  { epsilon, gemma }: TextSpec,
): Promise<string> {
  const weight = await layers.tensor(`${prefix}.weight`, [width], gemma ? 1 : 0);
  return layers.op('SimplifiedLayerNormalization', [x, weight], {
    attributes: { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
  });
}
