import { open } from 'node:fs/promises';
import { SHAPE, type Weights } from '../generation/four-layers.js';

/** Writes a Llama of the benchmarks' shape with random weights as llama.cpp reads it: GGUF, version 3 (github.com/ggml-org/ggml, docs/gguf.md). */

type Value =
  | { readonly uint32: number }
  | { readonly float32: number }
  | { readonly string: string }
  | { readonly strings: readonly string[] }
  | { readonly floats: readonly number[] }
  | { readonly ints: readonly number[] };

/** Bytes of 32 weights: a scale in half precision, and 4 or 8 bits each. */
const BLOCK = 32;
const ALIGNED = 32;
const TYPES = {
  f32: { id: 0, bytes: (count: number) => 4 * count },
  q4: { id: 2, bytes: (count: number) => (count / BLOCK) * 18 },
  q8: { id: 8, bytes: (count: number) => (count / BLOCK) * 34 },
} as const;
/** 2^-9 in half precision, so that sums stay small. */
const SCALE = 0x1800;

/** Numbers and strings, little-endian, one after the other. */
class Bytes {
  readonly parts: Buffer[] = [];

  uint32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return this.raw(bytes);
  }

  uint64(value: number): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return this.raw(bytes);
  }

  float32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(value);
    return this.raw(bytes);
  }

  string(value: string): this {
    const bytes = Buffer.from(value);
    return this.uint64(bytes.length).raw(bytes);
  }

  raw(bytes: Buffer): this {
    this.parts.push(bytes);
    return this;
  }

  value(value: Value): void {
    if ('uint32' in value) this.uint32(4).uint32(value.uint32);
    else if ('float32' in value) this.uint32(6).float32(value.float32);
    else if ('string' in value) this.uint32(8).string(value.string);
    else if ('strings' in value) {
      this.uint32(9).uint32(8).uint64(value.strings.length);
      for (const each of value.strings) this.string(each);
    } else if ('floats' in value) {
      this.uint32(9).uint32(6).uint64(value.floats.length);
      for (const each of value.floats) this.float32(each);
    } else {
      this.uint32(9).uint32(5).uint64(value.ints.length);
      for (const each of value.ints) this.uint32(each);
    }
  }
}

export async function writeGguf(path: string, { kind }: Weights): Promise<void> {
  const { layers, hidden, kvHeads, headDim, feedForward } = SHAPE;
  const special = ['<unk>', '<s>', '</s>'];
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  // Rows of a matrix product come in blocks.
  const tokens = [...special, ...bytes, ...Array.from({ length: 61 }, (_, i) => `w${i}`)];
  const metadata: Record<string, Value> = {
    'general.architecture': { string: 'llama' },
    'llama.context_length': { uint32: 8192 },
    'llama.embedding_length': { uint32: hidden },
    'llama.block_count': { uint32: layers },
    'llama.feed_forward_length': { uint32: feedForward },
    'llama.attention.head_count': { uint32: kvHeads },
    'llama.attention.head_count_kv': { uint32: kvHeads },
    'llama.attention.layer_norm_rms_epsilon': { float32: 1e-5 },
    'llama.rope.dimension_count': { uint32: headDim },
    'llama.vocab_size': { uint32: tokens.length },
    'tokenizer.ggml.model': { string: 'llama' },
    'tokenizer.ggml.tokens': { strings: tokens },
    'tokenizer.ggml.scores': { floats: tokens.map((_, i) => -i) },
    'tokenizer.ggml.token_type': {
      ints: tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)),
    },
    'tokenizer.ggml.bos_token_id': { uint32: 1 },
    'tokenizer.ggml.eos_token_id': { uint32: 2 },
  };
  const weights = kind === 'int8' ? 'q8' : 'q4';
  const tensors: { name: string; dims: number[]; type: keyof typeof TYPES }[] = [
    { name: 'token_embd.weight', dims: [hidden, tokens.length], type: weights },
    { name: 'output_norm.weight', dims: [hidden], type: 'f32' },
    { name: 'output.weight', dims: [hidden, tokens.length], type: weights },
    ...Array.from({ length: layers }, (_, i) => [
      { name: `blk.${i}.attn_norm.weight`, dims: [hidden], type: 'f32' as const },
      { name: `blk.${i}.ffn_norm.weight`, dims: [hidden], type: 'f32' as const },
      ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => ({
        ...{ name: `blk.${i}.${name}.weight`, dims: [hidden, hidden], type: weights as 'q4' },
      })),
      { name: `blk.${i}.ffn_gate.weight`, dims: [hidden, feedForward], type: weights as 'q4' },
      { name: `blk.${i}.ffn_up.weight`, dims: [hidden, feedForward], type: weights as 'q4' },
      { name: `blk.${i}.ffn_down.weight`, dims: [feedForward, hidden], type: weights as 'q4' },
    ]).flat(),
  ];
  const sizes = tensors.map(({ dims, type }) => TYPES[type].bytes(dims.reduce((a, b) => a * b, 1)));
  const header = new Bytes()
    .raw(Buffer.from('GGUF'))
    .uint32(3)
    .uint64(tensors.length)
    .uint64(Object.keys(metadata).length);
  for (const [name, value] of Object.entries(metadata)) header.string(name).value(value);
  let offset = 0;
  tensors.forEach(({ name, dims, type }, i) => {
    header.string(name).uint32(dims.length);
    for (const dim of dims) header.uint64(dim);
    header.uint32(TYPES[type].id).uint64(offset);
    offset += padded(sizes[i]!);
  });
  const start = Buffer.concat(header.parts);
  const file = await open(path, 'w');
  try {
    await file.write(Buffer.concat([start, Buffer.alloc(padded(start.length) - start.length)]));
    for (const [i, { type }] of tensors.entries()) await file.write(random(type, padded(sizes[i]!)));
  } finally {
    await file.close();
  }
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNED) * ALIGNED;
}

/** Ones for norms, else blocks of random numbers with one scale. */
function random(type: keyof typeof TYPES, bytes: number): Buffer {
  if (type === 'f32') return Buffer.from(new Float32Array(bytes / 4).fill(1).buffer);
  const buffer = Buffer.allocUnsafe(bytes);
  let state = 1;
  for (let at = 0; at + 4 <= bytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    buffer.writeInt32LE(state, at);
  }
  const block = TYPES[type].bytes(BLOCK);
  for (let at = 0; at + block <= bytes; at += block) buffer.writeUInt16LE(SCALE, at);
  return buffer;
}
