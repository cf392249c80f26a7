import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tensor } from '@huggingface/transformers';
import { type Values, writeSafetensors } from './checkpoints.js';

/** The small files of a Qwen-VL of 2023, and what PyTorch computes with its made-up weights (fixtures/make_qwen_vl.py). */
export const tinyQwenVl = fileURLToPath(new URL('fixtures/tiny-qwen-vl', import.meta.url));

/** Numbers in [-1, 1) by a name: the upper 8 bits of a linear congruential generator. */
export function madeUp(name: string, shape: readonly number[]): Values {
  let state = 0x811c9dc5;
  for (const byte of Buffer.from(name)) state = Math.imul(state ^ byte, 0x01000193);
  const data = Float32Array.from({ length: shape.reduce((product, dim) => product * dim, 1) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (2 * (state >>> 24) - 255) / 256;
  });
  return { data, shape };
}

function weight(name: string, shape: readonly number[]): Values {
  const { data } = madeUp(name, shape);
  const inputs = shape.slice(1).reduce((product, dim) => product * dim, 1);
  const scale =
    2 ** Math.round(Math.log2(2 / Math.sqrt(inputs))) * (name === 'transformer.wte.weight' ? 8 : 1);
  const scaled =
    shape.length > 1
      ? data.map((value) => value * scale)
      : data.map((value) => (name.endsWith('weight') ? value / 8 + 1 : value / 4));
  return { data: scaled, shape };
}

export interface QwenVlConfig {
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  vocab_size: number;
  visual: Readonly<Record<string, unknown>> &
    Record<'width' | 'layers' | 'patch_size' | 'mlp_ratio' | 'n_queries', number>;
}

/** The shape of every tensor of a Qwen-VL by its original name. */
export function qwenVlShapes(config: QwenVlConfig): Map<string, number[]> {
  const { hidden_size: hidden, vocab_size: words, visual } = config;
  const inner = config.intermediate_size / 2;
  const mlp = Math.floor(visual.width * visual.mlp_ratio);
  const tensors = new Map<string, number[]>();
  const add = (name: string, ...shape: number[]) => tensors.set(name, shape);
  const both = (name: string, ...shape: number[]) => {
    add(`${name}.weight`, ...shape);
    add(`${name}.bias`, shape[0]!);
  };
  add('transformer.wte.weight', words, hidden);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `transformer.h.${i}`;
    add(`${layer}.ln_1.weight`, hidden);
    add(`${layer}.ln_2.weight`, hidden);
    both(`${layer}.attn.c_attn`, 3 * hidden, hidden);
    add(`${layer}.attn.c_proj.weight`, hidden, hidden);
    add(`${layer}.mlp.w1.weight`, inner, hidden);
    add(`${layer}.mlp.w2.weight`, inner, hidden);
    add(`${layer}.mlp.c_proj.weight`, hidden, inner);
  }
  add('transformer.ln_f.weight', hidden);
  add('lm_head.weight', words, hidden);
  const tower = 'transformer.visual';
  add(`${tower}.conv1.weight`, visual.width, 3, visual.patch_size, visual.patch_size);
  add(`${tower}.positional_embedding`, 256, visual.width);
  both(`${tower}.ln_pre`, visual.width);
  for (let i = 0; i < visual.layers; i++) {
    const block = `${tower}.transformer.resblocks.${i}`;
    both(`${block}.ln_1`, visual.width);
    both(`${block}.ln_2`, visual.width);
    both(`${block}.attn.in_proj`, 3 * visual.width, visual.width);
    both(`${block}.attn.out_proj`, visual.width, visual.width);
    both(`${block}.mlp.c_fc`, mlp, visual.width);
    both(`${block}.mlp.c_proj`, visual.width, mlp);
  }
  add(`${tower}.attn_pool.query`, visual.n_queries, hidden);
  add(`${tower}.attn_pool.pos_embed`, visual.n_queries, hidden);
  add(`${tower}.attn_pool.kv_proj.weight`, hidden, visual.width);
  add(`${tower}.attn_pool.attn.in_proj_weight`, 3 * hidden, hidden);
  add(`${tower}.attn_pool.attn.in_proj_bias`, 3 * hidden);
  both(`${tower}.attn_pool.attn.out_proj`, hidden, hidden);
  for (const norm of ['attn_pool.ln_q', 'attn_pool.ln_kv', 'ln_post']) both(`${tower}.${norm}`, hidden);
  add(`${tower}.proj`, hidden, hidden);
  return tensors;
}

/** Writes the whole checkpoint. */
export async function writeQwenVl(to: string): Promise<void> {
  await cp(tinyQwenVl, to, { recursive: true });
  for (const name of ['expected.safetensors', 'tokens.json']) await rm(join(to, name));
  const config = JSON.parse(await readFile(join(to, 'config.json'), 'utf8'));
  const tensors = Array.from(qwenVlShapes(config), ([name, shape]) => [name, weight(name, shape)] as const);
  await writeSafetensors(join(to, 'model.safetensors'), new Map(tensors), 'F32');
}

/** The two pictures of the golden, as the vision encoder takes them. */
export function pictures(): Tensor {
  const { data, shape } = madeUp('pixels', [2, 3, 64, 64]);
  return new Tensor(
    'float32',
    data.map((value) => value * 2),
    [...shape],
  );
}
