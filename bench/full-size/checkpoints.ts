import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { clipStatistics } from '../../src/convert/checkpoint/llava/files.js';
import { llavaSpec } from '../../src/convert/checkpoint/llava/spec.js';
import { visionEncoderTensors } from '../../src/convert/checkpoint/llava/tensors.js';
import { decoderTensors, embeddingTensor } from '../../src/convert/checkpoint/text/tensors.js';
import { toHalf } from '../../src/half-floats.js';
import { type QwenVlConfig, qwenVlShapes } from '../../test/convert/qwen-vl-checkpoint.js';
import { randomNumbers } from '../generation/four-layers.js';

type Json = Record<string, unknown>;

/** A checkpoint without its numbers. */
export interface Checkpoint {
  readonly files: Readonly<Record<string, Json | string>>;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** The id that stands for a part of a picture, and how many of them do. */
  readonly imageToken: number;
  readonly imageTokens: number;
  /** Pixels along each side of a picture. */
  readonly side: number;
}

/** LLaVA-1.5-7B as llava-hf has it, with `share` of its layers. */
export function llava7b(share: number): Checkpoint {
  const [words, imageToken] = [32000, 32000];
  const vision = {
    hidden_size: 1024,
    intermediate_size: 4096,
    num_attention_heads: 16,
    image_size: 336,
    patch_size: 14,
  };
  const config = {
    architectures: ['LlavaForConditionalGeneration'],
    model_type: 'llava',
    image_token_index: imageToken,
    text_config: {
      model_type: 'llama',
      vocab_size: 32064,
      max_position_embeddings: 4096,
      num_hidden_layers: 32 * share,
      rms_norm_eps: 1e-5,
    },
    vision_config: {
      model_type: 'clip_vision_model',
      ...vision,
      num_hidden_layers: Math.ceil(22 * share) + 2,
    },
  };
  const spec = llavaSpec(config);
  const tensors = [
    ...visionEncoderTensors(spec),
    embeddingTensor(spec.text),
    ...decoderTensors(spec.text, true).all,
  ];
  const vocab = Object.fromEntries(Array.from({ length: words }, (_, id) => [`w${id}`, id]));
  return {
    files: {
      'config.json': config,
      'generation_config.json': {},
      'preprocessor_config.json': {
        size: { shortest_edge: 336 },
        crop_size: { height: 336, width: 336 },
        do_resize: true,
        do_center_crop: true,
        do_rescale: true,
        do_normalize: true,
        ...clipStatistics,
      },
      'processor_config.json': { image_token: '<image>' },
      'tokenizer_config.json': { tokenizer_class: 'PreTrainedTokenizerFast' },
      'tokenizer.json': {
        version: '1.0',
        added_tokens: [
          {
            id: imageToken,
            content: '<image>',
            special: true,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
          },
        ],
        normalizer: null,
        pre_tokenizer: { type: 'WhitespaceSplit' },
        post_processor: null,
        decoder: null,
        model: { type: 'WordLevel', vocab, unk_token: 'w0' },
      },
    },
    shapes: new Map(tensors.map(({ name, shape }) => [name, shape])),
    imageToken,
    imageTokens: 576,
    side: 336,
  };
}

/** Qwen-VL-Chat, with `share` of its layers and ranks of no language. */
export function qwenVlChat(share: number): Checkpoint {
  const ranks = 151643;
  const start = ranks + 214;
  const config = {
    architectures: ['QWenLMHeadModel'],
    model_type: 'qwen',
    hidden_size: 4096,
    intermediate_size: 22016,
    num_hidden_layers: 32 * share,
    num_attention_heads: 32,
    kv_channels: 128,
    vocab_size: 151936,
    seq_length: 2048,
    max_position_embeddings: 8192,
    visual: {
      width: 1664,
      layers: 48 * share,
      heads: 16,
      mlp_ratio: 4.9231,
      image_size: 448,
      patch_size: 14,
      output_dim: 4096,
      n_queries: 256,
      image_start_id: start,
    },
  } satisfies QwenVlConfig & Json;
  // All bytes, all pairs of them, and some of three.
  const token = (rank: number) => {
    if (rank < 256) return [rank];
    const pair = rank < 65792 ? rank - 256 : Math.floor((rank - 65792) / 256);
    return [pair >> 8, pair & 255, ...(rank < 65792 ? [] : [(rank - 65792) & 255])];
  };
  const lines = Array.from(
    { length: ranks },
    (_, rank) => `${Buffer.from(token(rank)).toString('base64')} ${rank}\n`,
  );
  return {
    files: {
      'config.json': config,
      'generation_config.json': { chat_format: 'chatml' },
      'tokenizer_config.json': {},
      'qwen.tiktoken': lines.join(''),
    },
    shapes: qwenVlShapes(config),
    imageToken: start + 2,
    imageTokens: 256,
    side: 448,
  };
}

/** Tensors of a shard take about so many bytes. */
const shardBytes = 4e9;

/** Writes a checkpoint in float16, its numbers random (norms 1), in shards; says how large it and its largest tensor are, in bytes. */
export async function writeCheckpoint(
  directory: string,
  { files, shapes }: Checkpoint,
): Promise<{ bytes: number; largest: number }> {
  await mkdir(directory, { recursive: true });
  for (const [name, content] of Object.entries(files))
    await writeFile(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  const sized = Array.from(shapes, ([name, shape]) => ({
    name,
    shape,
    bytes: 2 * shape.reduce((a, b) => a * b, 1),
  }));
  const shards: (typeof sized)[] = [];
  let room = 0;
  for (const tensor of sized) {
    if (tensor.bytes > room) [room] = [shardBytes, shards.push([])];
    shards.at(-1)!.push(tensor);
    room -= tensor.bytes;
  }
  const random = Uint16Array.from(randomNumbers(1 << 22), (value) => toHalf(value));
  const ones = new Uint16Array(1 << 14).fill(0x3c00);
  const fileOf = (shard: number) => `model-${shard + 1}-of-${shards.length}.safetensors`;
  for (const [index, shard] of shards.entries()) {
    let offset = 0;
    const header = Object.fromEntries(
      shard.map(({ name, shape, bytes }) => {
        const data_offsets = [offset, offset + bytes];
        offset += bytes;
        return [name, { dtype: 'F16', shape, data_offsets }];
      }),
    );
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    const handle = await open(join(directory, fileOf(index)), 'w');
    await handle.writev([length, text]);
    for (const { shape, bytes, name } of shard) {
      const from = Buffer.from((shape.length === 1 && name.endsWith('weight') ? ones : random).buffer);
      for (let done = 0; done < bytes; done += from.length)
        await handle.write(from, 0, Math.min(from.length, bytes - done));
    }
    await handle.close();
  }
  const weight_map = Object.fromEntries(
    shards.flatMap((shard, i) => shard.map(({ name }) => [name, fileOf(i)])),
  );
  await writeFile(join(directory, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
  const sizes = sized.map(({ bytes }) => bytes);
  return { bytes: sizes.reduce((a, b) => a + b, 0), largest: Math.max(...sizes) };
}
