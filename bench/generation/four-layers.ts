import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { llavaSpec } from '../../src/convert/checkpoint/llava/spec.js';
import { decoderTensors, embeddingTensor } from '../../src/convert/checkpoint/text/tensors.js';
import { buildDecoder } from '../../src/convert/graphs/decoder-graph.js';
import type { WeightFormat } from '../../src/convert/graphs/layers.js';
import { OnnxFile } from '../../src/convert/writing/onnx-file.js';
import { WritingPass } from '../../src/convert/writing/passes.js';
import { graphOf, parseModel, serializeModel } from '../../src/graph/onnx/onnx.js';
import { tokenizerFiles } from '../../test/families/tiny-parts.js';

/** LLaVA-1.5-7B's decoder layers, four of them, and a small vocabulary. */
export const SHAPE = { layers: 4, hidden: 4096, kvHeads: 32, headDim: 128, feedForward: 11008 };

/** How weights are stored. */
export type Weights = { readonly kind: 'int8' } | { readonly kind: 'int4'; readonly blockSize: number };

/**
 * Writes a decoder of that shape with random weights (400 to 800 MB) to a temporary directory, by the code that
 * converts checkpoints.
 * @param accuracyLevel of int4 weights; that of converted checkpoints (4) unless told
 */
export async function writeFourLayers(
  weights: Weights,
  accuracyLevel?: number,
): Promise<{ path: string; remove: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'elastic-cache-bench-'));
  const name = 'decoder_model_merged_q4.onnx';
  await writeDecoder(directory, name, 'inputs_embeds', weights);
  if (accuracyLevel !== undefined) await changeAccuracyLevel(join(directory, name), accuracyLevel);
  return { path: join(directory, name), remove: () => rm(directory, { recursive: true }) };
}

async function changeAccuracyLevel(path: string, level: number): Promise<void> {
  const model = parseModel(await readFile(path));
  for (const { attribute } of graphOf(model).node) {
    for (const each of attribute) if (each.name === 'accuracy_level') each.i = BigInt(level);
  }
  await writeFile(path, serializeModel(model));
}

/** Writes a model of text alone with such a decoder, int8 (about 800 MB), that can be loaded: a tokenizer of words w0, w1 ... */
export async function writeFourLayerModel(): Promise<{ directory: string; remove: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'elastic-cache-bench-'));
  await mkdir(join(directory, 'onnx'));
  await writeDecoder(join(directory, 'onnx'), 'model.onnx', 'input_ids', { kind: 'int8' });
  const json = {
    'config.json': {
      ...TEXT_CONFIG,
      architectures: ['LlamaForCausalLM'],
      'transformers.js_config': { use_external_data_format: true },
    },
    'generation_config.json': {},
    ...tokenizerFiles(['<unk>', '<s>', '</s>'], [], { vocab: TEXT_CONFIG.vocab_size }),
  };
  for (const [name, content] of Object.entries(json))
    await writeFile(join(directory, name), JSON.stringify(content));
  return { directory, remove: () => rm(directory, { recursive: true }) };
}

async function writeDecoder(
  directory: string,
  name: string,
  source: 'inputs_embeds' | 'input_ids',
  format: WeightFormat,
): Promise<void> {
  const pass = new WritingPass(directory);
  const file = new OnnxFile(name, pass);
  try {
    const { text, sizes, output } = specOf();
    const random = randomNumbers(Math.max(...sizes.values()));
    const read = async (tensor: string) => {
      const size = sizes.get(tensor)!;
      return tensor.includes('norm') ? new Float32Array(size).fill(1) : random.subarray(0, size);
    };
    await buildDecoder(file, text, source, output, read, format);
    await file.finish();
  } catch (error) {
    await rm(directory, { recursive: true });
    throw error;
  } finally {
    await pass.close();
  }
}

const TEXT_CONFIG = {
  model_type: 'llama',
  hidden_size: SHAPE.hidden,
  intermediate_size: SHAPE.feedForward,
  num_hidden_layers: SHAPE.layers,
  num_attention_heads: SHAPE.hidden / SHAPE.headDim,
  num_key_value_heads: SHAPE.kvHeads,
  vocab_size: 256,
  // Twice those of LLaVA-1.5-7B: a step behind 4,096 has a position, too.
  max_position_embeddings: 8192,
};

function specOf() {
  const spec = llavaSpec({
    model_type: 'llava',
    image_token_index: 3,
    vision_config: {},
    text_config: TEXT_CONFIG,
  });
  const { all, output } = decoderTensors(spec.text, true);
  const sizes = new Map(
    [...all, embeddingTensor(spec.text)].map(({ name, shape }) => [name, shape.reduce((a, b) => a * b, 1)]),
  );
  return { text: spec.text, sizes, output };
}

/** Uniform in [-0.03, 0.03), the same every time. */
export function randomNumbers(count: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  let state = 1;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = (state / 2 ** 31) * 0.03;
  }
  return values;
}
