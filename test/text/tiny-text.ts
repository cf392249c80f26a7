import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CHATML_TEXT, GEMMA, PHI } from '../families/chat-templates.js';
import { tokenizerFiles } from '../families/tiny-parts.js';

/** A directory of a text model with random weights, as the Hub lays it out. */
export interface TinyText {
  /** Its class in transformers.js. */
  className: string;
  config: Record<string, unknown>;
  /** A file under test/ as an exporter wrote it. */
  decoder: string;
  /** The file's name under onnx/, `model` unless told, with what a dtype adds to it. */
  file?: string;
  /** `fp32` unless told. */
  dtype?: 'fp16' | 'q8' | 'q4' | 'q4f16';
  /** How far logits may be from those of transformers.js, 1e-4 unless told: half precision and int8 activations round. */
  tolerance?: number;
  files: Record<string, object | string>;
}

/** Tokens of the fixtures. */
const VOCAB = 64;
const SIZES = {
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_size: 32,
  head_dim: 16,
};
const ROLES = 'user assistant system model You are a helpful .'.split(' ');

function tiny(
  className: string,
  model_type: string,
  decoder: string,
  files: TinyText['files'] = CHATML,
): TinyText {
  return { className, config: { model_type, architectures: [className], ...SIZES }, decoder, files };
}

const tokens = (special: readonly string[], config: Parameters<typeof tokenizerFiles>[2]) =>
  tokenizerFiles(special, ROLES, { vocab: VOCAB, ...config });

const CHATML = tokens(['<|endoftext|>', '<|im_start|>', '<|im_end|>'], { chat_template: CHATML_TEXT });
/** Begins every text with a token of its own, without a chat template: a base model. */
const PLAIN = tokens(['<unk>', '<s>', '</s>'], { bos: '<s>' });
const OF_GEMMA = tokens(['<pad>', '<eos>', '<bos>', '<start_of_turn>', '<end_of_turn>'], {
  bos: '<bos>',
  chat_template: GEMMA,
});
const OF_PHI = tokens(['<|endoftext|>', '<|user|>', '<|assistant|>', '<|end|>'], { chat_template: PHI });

/** By the name of the exporter's file. */
export const TEXT_MODELS: Record<string, TinyText> = {
  'optimum-llama': tiny('LlamaForCausalLM', 'llama', 'optimum-llama'),
  'optimum-llama-eager': tiny('LlamaForCausalLM', 'llama', 'optimum-llama-eager', PLAIN),
  'optimum-qwen2': tiny('Qwen2ForCausalLM', 'qwen2', 'optimum-qwen2'),
  'optimum-qwen3': tiny('Qwen3ForCausalLM', 'qwen3', 'optimum-qwen3'),
  'optimum-gemma2': tiny('Gemma2ForCausalLM', 'gemma2', 'optimum-gemma2', OF_GEMMA),
  'optimum-gemma3': tiny('Gemma3ForCausalLM', 'gemma3_text', 'optimum-gemma3', OF_GEMMA),
  'optimum-phi3': tiny('Phi3ForCausalLM', 'phi3', 'optimum-phi3', OF_PHI),
  'optimum-granite': tiny('GraniteForCausalLM', 'granite', 'optimum-granite'),
  'form-q8': { ...tiny('LlamaForCausalLM', 'llama', 'form-q8'), dtype: 'q8', tolerance: 0.1 },
  'form-q4': { ...tiny('LlamaForCausalLM', 'llama', 'form-q4'), dtype: 'q4' },
  'form-fp16': { ...tiny('LlamaForCausalLM', 'llama', 'form-fp16'), dtype: 'fp16', tolerance: 2e-2 },
  'form-q4f16': { ...tiny('LlamaForCausalLM', 'llama', 'form-q4f16'), dtype: 'q4f16', tolerance: 2e-2 },
  'form-merged': { ...tiny('LlamaForCausalLM', 'llama', 'form-merged'), file: 'decoder_model_merged' },
  'genai-llama': tiny('LlamaForCausalLM', 'llama', 'genai-llama'),
  'genai-llama-int4': { ...tiny('LlamaForCausalLM', 'llama', 'genai-llama-int4'), tolerance: 2e-2 },
  'genai-qwen3': tiny('Qwen3ForCausalLM', 'qwen3', 'genai-qwen3'),
  'genai-granite': tiny('GraniteForCausalLM', 'granite', 'genai-granite'),
  'genai-gemma3': {
    ...tiny('Gemma3ForCausalLM', 'gemma3_text', 'genai-gemma3', OF_GEMMA),
    config: {
      model_type: 'gemma3_text',
      architectures: ['Gemma3ForCausalLM'],
      ...SIZES,
      num_hidden_layers: 6,
      num_attention_heads: 2,
      num_key_value_heads: 1,
    },
  },
  'optimum-smollm3': tiny('SmolLM3ForCausalLM', 'smollm3', 'optimum-smollm3'),
};

const FIXTURES = new URL('./fixtures/', import.meta.url);

/** Writes the directory: configs, tokenizer and one ONNX file. */
export async function writeTinyText(directory: string, model: TinyText): Promise<void> {
  const { config, decoder, file = 'model', dtype, files } = model;
  const suffix = dtype === undefined ? '' : dtype === 'q8' ? '_quantized' : `_${dtype}`;
  const target = join(directory, 'onnx', `${file}${suffix}.onnx`);
  await mkdir(dirname(target), { recursive: true });
  await copyFile(new URL(`${decoder}.onnx`, FIXTURES), target);
  const all = { 'config.json': config, 'generation_config.json': { eos_token_id: 2 }, ...files };
  for (const [name, content] of Object.entries(all)) {
    await writeFile(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
}
