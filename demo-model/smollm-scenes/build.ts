/**
 * Puts what was trained (adapter.safetensors: tower, projector, a LoRA in every layer, norms) on SmolLM2-135M-Instruct: a checkpoint of Hugging Face's LlavaForConditionalGeneration,
 * for `elastic-cache convert`.
 * Run: npx tsx demo-model/smollm-scenes/build.ts --base DIR --out DIR
 */
import { copyFile, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readSafetensors } from '../../src/convert/reading/safetensors.js';
import { TensorFile } from '../../src/convert/reading/tensor-file.js';
import { ElasticCacheError } from '../../src/errors.js';
import { settingsOf } from './settings.js';

const ADAPTER = fileURLToPath(new URL('adapter.safetensors', import.meta.url));
const TENSORS = 'model.safetensors';

/** Products that one LoRA is shared by, stacked over their outputs in this order. */
const PRODUCTS = {
  self_attn_qkv: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  self_attn_o: ['self_attn.o_proj'],
  mlp_gate_up: ['mlp.gate_proj', 'mlp.up_proj'],
  mlp_down: ['mlp.down_proj'],
};
const NORMS = { input_layernorm: 'input_norm', post_attention_layernorm: 'post_norm' };

/** Where a tensor of the language model comes from: its own values, those of the adapter, or its own and rows of a LoRA's product. */
type Source = { trained?: string; lora?: string; row?: number };

function sourceOf(name: string, language: TensorFile): Source {
  if (name === 'model.norm.weight') return { trained: 'llama.norm' };
  const [, layer, part] = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? [];
  if (!layer || !part) return {};
  if (part in NORMS) return { trained: `llama.layers.${layer}.${NORMS[part as keyof typeof NORMS]}` };
  for (const [key, parts] of Object.entries(PRODUCTS)) {
    const place = parts.indexOf(part);
    if (place < 0) continue;
    const rows = parts
      .slice(0, place)
      .map((each) => language.tensors.get(`model.layers.${layer}.${each}.weight`)!.shape[0]!);
    return { lora: `llama.layers.${layer}.lora.${key}`, row: rows.reduce((sum, count) => sum + count, 0) };
  }
  return {};
}

/** weight [outputs, inputs] += rows of b [all outputs, rank] from `row` on, times a [rank, inputs] */
async function addLora(weight: Float32Array, adapter: TensorFile, lora: string, row: number): Promise<void> {
  const [rank, inputs] = adapter.tensors.get(`${lora}_a`)!.shape as [number, number];
  const [a, b] = [await adapter.read(`${lora}_a`), await adapter.read(`${lora}_b`)];
  for (let output = 0; output < weight.length / inputs; output++) {
    const own = weight.subarray(output * inputs, (output + 1) * inputs);
    for (let r = 0; r < rank; r++) {
      const factor = b[(row + output) * rank + r]!;
      const from = r * inputs;
      for (let i = 0; i < inputs; i++) own[i]! += factor * a[from + i]!;
    }
  }
}

async function ofLanguage(name: string, language: TensorFile, adapter: TensorFile): Promise<Float32Array> {
  const { trained, lora, row } = sourceOf(name, language);
  if (trained) return adapter.read(trained);
  const values = await language.read(name);
  if (lora) await addLora(values, adapter, lora, row!);
  return values;
}

interface Tensor {
  name: string;
  shape: readonly number[];
  read: () => Promise<Float32Array>;
}

/** All tensors of the checkpoint by their names in transformers. */
function tensorsOf(language: TensorFile, adapter: TensorFile): Tensor[] {
  const text = [...language.tensors]
    .filter(([name]) => name !== 'lm_head.weight')
    .map(([name, { shape }]) => ({
      name: `language_model.${name}`,
      shape,
      read: () => ofLanguage(name, language, adapter),
    }));
  const seeing = [...adapter.tensors]
    .filter(([name]) => /^(tower|projector)\./.test(name))
    .map(([name, { shape }]) => ({
      name: name
        .replace(/^tower\./, 'vision_tower.')
        .replace(/^projector\.0\./, 'multi_modal_projector.linear_1.')
        .replace(/^projector\.2\./, 'multi_modal_projector.linear_2.'),
      shape,
      read: () => adapter.read(name),
    }));
  return [...text, ...seeing];
}

async function writeTensors(path: string, list: readonly Tensor[]): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let offset = 0;
  for (const { name, shape } of list) {
    const end = offset + 4 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = await open(path, 'w');
  await file.writev([length, text]);
  for (const [i, { read }] of list.entries()) {
    const { buffer, byteOffset, byteLength } = await read();
    await file.write(Buffer.from(buffer, byteOffset, byteLength));
    process.stderr.write(`\r${i + 1}/${list.length} tensors`);
  }
  process.stderr.write('\n');
  await file.close();
}

async function build(base: string, out: string): Promise<void> {
  const language = await TensorFile.open(join(base, TENSORS), readSafetensors);
  const adapter = await TensorFile.open(ADAPTER, readSafetensors);
  const json = async (name: string) => JSON.parse(await readFile(join(base, name), 'utf8'));
  const settings = settingsOf(await json('config.json'), await json('tokenizer_config.json'));
  await mkdir(out, { recursive: true });
  for (const [name, content] of Object.entries(settings))
    await writeFile(join(out, name), `${JSON.stringify(content, null, 2)}\n`);
  for (const name of ['tokenizer.json', 'generation_config.json'])
    await copyFile(join(base, name), join(out, name));
  await writeTensors(join(out, `${TENSORS}.part`), tensorsOf(language, adapter));
  await rename(join(out, `${TENSORS}.part`), join(out, TENSORS));
  await language.close();
  await adapter.close();
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { base: { type: 'string' }, out: { type: 'string' } } });
  const { base, out } = values;
  if (!base || !out) {
    throw new ElasticCacheError(
      'invalid-option',
      '--base must name the directory of SmolLM2-135M-Instruct, --out where the checkpoint goes.',
    );
  }
  await build(base, out);
  console.log(`${out}: npx elastic-cache convert --from ${out} --to MODEL --dtype q8`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
