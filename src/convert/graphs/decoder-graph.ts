import { DataType, MICROSOFT } from '../../graph/onnx/onnx.js';
import type { TextSpec } from '../checkpoint/text-spec.js';
import { embeddingTensor, layersOf } from '../checkpoint/text-tensors.js';
import { Layers, type ReadTensor, type WeightFormat } from './layers.js';
import type { OnnxFile } from './onnx-file.js';
import { rotaryTables } from './rotary-tables.js';

/** Adds the token embedding: `input_ids` [batch, tokens] -> `inputs_embeds` [batch, tokens, hidden]. */
export async function buildEmbedTokens(file: OnnxFile, spec: TextSpec, read: ReadTensor): Promise<void> {
  await embed(file, new Layers(file, read, { kind: 'fp32' }), spec, 'inputs_embeds');
  file.builder.output('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', spec.hidden]);
}

async function embed(file: OnnxFile, layers: Layers, spec: TextSpec, output: string): Promise<string> {
  const ids = file.builder.input('input_ids', DataType.INT64, ['batch_size', 'sequence_length']);
  const { name, shape } = embeddingTensor(spec);
  return layers.op('Gather', [await layers.tensor(name, shape), ids], { outputs: [output] });
}

/** What all layers share: the mask's two lengths and the rotary tables. */
interface Shared {
  readonly positionIds: string;
  readonly lastIndex: string;
  readonly totalLength: string;
  readonly cosines: string;
  readonly sines: string;
}

/**
 * Adds a decoder of the Llama kind as transformers.js drives it. Rotation takes its positions from `position_ids`, so it is right
 * whatever the cache holds. `num_logits_to_keep` is the number of last tokens to give logits for, 0 for all.
 * Batched prompts of unequal length have to be padded on the right: com.microsoft.GroupQueryAttention takes no other.
 * @param source what it takes: `inputs_embeds` [batch, tokens, hidden] beside an image, `input_ids` [batch, tokens] of text alone.
 * @param head name of the tensor of the output product, without `.weight`.
 */
export async function buildDecoder(
  file: OnnxFile,
  spec: TextSpec,
  source: 'inputs_embeds' | 'input_ids',
  head: string,
  read: ReadTensor,
  format: WeightFormat,
): Promise<void> {
  const layers = new Layers(file, read, format);
  const { builder } = file;
  const { hidden, kvHeads, headDim } = spec;
  let x =
    source === 'input_ids'
      ? await embed(file, layers, spec, 'embeddings')
      : builder.input('inputs_embeds', DataType.FLOAT, ['batch_size', 'sequence_length', hidden]);
  const mask = builder.input('attention_mask', DataType.INT64, ['batch_size', 'total_sequence_length']);
  const positionIds = builder.input('position_ids', DataType.INT64, ['batch_size', 'sequence_length']);
  const keep = builder.input('num_logits_to_keep', DataType.INT64, []);
  const shared = { positionIds, ...maskLengths(layers, mask), ...(await rotary(layers, spec)) };
  const cacheShape = (length: string) => ['batch_size', kvHeads, length, headDim];
  for (let i = 0; i < spec.layers; i++) {
    for (const part of ['key', 'value']) {
      builder.input(`past_key_values.${i}.${part}`, DataType.FLOAT, cacheShape('past_sequence_length'));
    }
  }
  builder.output('logits', DataType.FLOAT, ['batch_size', 'logits_length', spec.vocabulary]);
  for (let i = 0; i < spec.layers; i++) {
    for (const part of ['key', 'value']) {
      builder.output(`present.${i}.${part}`, DataType.FLOAT, cacheShape('total_sequence_length'));
    }
    x = await decoderLayer(layers, x, spec, shared, i);
  }
  x = await rmsNorm(layers, x, `${layersOf(spec)}.norm`, spec);
  // A start of -n leaves the last n tokens, and -0 is 0: the slice is then everything.
  const start = layers.op('Reshape', [layers.op('Neg', [keep]), layers.int64(1)]);
  x = layers.op('Slice', [x, start, layers.int64(Number.MAX_SAFE_INTEGER), layers.int64(1)]);
  const logits = await layers.linear(x, head, [spec.vocabulary, hidden]);
  layers.op('Identity', [logits], { outputs: ['logits'] });
}

async function decoderLayer(
  layers: Layers,
  x: string,
  spec: TextSpec,
  shared: Shared,
  index: number,
): Promise<string> {
  const { hidden, intermediate, queryHeads, kvHeads, headDim, bias } = spec;
  const layer = `${layersOf(spec)}.layers.${index}`;
  const a = await rmsNorm(layers, x, `${layer}.input_layernorm`, spec);
  const q = await layers.linear(a, `${layer}.self_attn.q_proj`, [queryHeads * headDim, hidden], bias);
  const k = await layers.linear(a, `${layer}.self_attn.k_proj`, [kvHeads * headDim, hidden], bias);
  const v = await layers.linear(a, `${layer}.self_attn.v_proj`, [kvHeads * headDim, hidden], bias);
  const rotate = (value: string) =>
    layers.op('RotaryEmbedding', [value, shared.positionIds, shared.cosines, shared.sines], {
      domain: MICROSOFT,
    });
  const attended = `${layer}.attention`;
  layers.op(
    'GroupQueryAttention',
    [
      rotate(q),
      rotate(k),
      v,
      `past_key_values.${index}.key`,
      `past_key_values.${index}.value`,
      shared.lastIndex,
      shared.totalLength,
    ],
    {
      domain: MICROSOFT,
      attributes: { num_heads: queryHeads, kv_num_heads: kvHeads, do_rotary: 0 },
      outputs: [attended, `present.${index}.key`, `present.${index}.value`],
    },
  );
  const out = await layers.linear(attended, `${layer}.self_attn.o_proj`, [hidden, queryHeads * headDim]);
  const y = layers.op('Add', [x, out]);
  const b = await rmsNorm(layers, y, `${layer}.post_attention_layernorm`, spec);
  const gate = await layers.linear(b, `${layer}.mlp.gate_proj`, [intermediate, hidden]);
  const up = await layers.linear(b, `${layer}.mlp.up_proj`, [intermediate, hidden]);
  const silu = layers.op('Mul', [gate, layers.op('Sigmoid', [gate])]);
  const down = await layers.linear(layers.op('Mul', [silu, up]), `${layer}.mlp.down_proj`, [
    hidden,
    intermediate,
  ]);
  return layers.op('Add', [y, down]);
}

async function rmsNorm(layers: Layers, x: string, prefix: string, spec: TextSpec): Promise<string> {
  return layers.op(
    'SimplifiedLayerNormalization',
    [x, await layers.tensor(`${prefix}.weight`, [spec.hidden])],
    {
      attributes: { axis: -1, epsilon: { float: spec.epsilon }, stash_type: 1 },
    },
  );
}

/** What GroupQueryAttention asks of the mask [batch, total]: the index of each row's last token [batch] and the total, both int32. */
function maskLengths(layers: Layers, mask: string): Pick<Shared, 'lastIndex' | 'totalLength'> {
  const toInt32 = { attributes: { to: DataType.INT32 } };
  const used = layers.op('ReduceSum', [mask, layers.int64(1)], { attributes: { keepdims: 0 } });
  const total = layers.op('Shape', [mask], { attributes: { start: 1, end: 2 } });
  return {
    lastIndex: layers.op('Cast', [layers.op('Sub', [used, layers.int64(1)])], toInt32),
    totalLength: layers.op('Cast', [layers.op('Squeeze', [total])], toInt32),
  };
}

async function rotary(layers: Layers, spec: TextSpec): Promise<Pick<Shared, 'cosines' | 'sines'>> {
  const { cosines, sines } = rotaryTables(spec.positions, spec.headDim, spec.rotary);
  const dims = [spec.positions, spec.headDim / 2];
  return {
    cosines: await layers.float32('cos_cache', dims, cosines),
    sines: await layers.float32('sin_cache', dims, sines),
  };
}
