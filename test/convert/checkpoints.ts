import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readPytorch } from '../../src/convert/reading/pytorch.js';
import { readSafetensors } from '../../src/convert/reading/safetensors.js';
import { TensorFile } from '../../src/convert/reading/tensor-file.js';

/** A random LLaVA checkpoint in bfloat16 and, in `expected`, what Hugging Face transformers makes of it (fixtures/make.py). */
export const tiny = fileURLToPath(new URL('fixtures/tiny-llava', import.meta.url));
const expected = fileURLToPath(new URL('fixtures/expected.safetensors', import.meta.url));

/** All that checkpoints are converted to. */
export const DTYPES = ['fp32', 'fp16', 'q8', 'q4', 'q4f16'] as const;

export interface Values {
  data: Float32Array;
  shape: readonly number[];
}

/** All tensors of a safetensors file, or of one of PyTorch's. */
export async function readTensors(path: string): Promise<Map<string, Values>> {
  const file = await TensorFile.open(path, path.endsWith('.bin') ? readPytorch : readSafetensors);
  const values = new Map<string, Values>();
  for (const [name, { shape }] of file.tensors) values.set(name, { data: await file.read(name), shape });
  await file.close();
  return values;
}

export async function readExpected(name: string): Promise<Values> {
  return (await readTensors(expected)).get(name)!;
}

export type StoredType = 'F32' | 'F16' | 'BF16';

/** Writes a safetensors file. The fixture's numbers have 8 significant bits: F16 and BF16 hold them exactly, or almost. */
export async function writeSafetensors(
  path: string,
  tensors: Map<string, Values>,
  dtype: StoredType,
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { data, shape }] of tensors) {
    const bytes = encode(data, dtype);
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] };
    parts.push(bytes);
    offset += bytes.length;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(path, Buffer.concat([length, text, ...parts]));
}

function encode(data: Float32Array, dtype: StoredType): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(data.slice().buffer);
  const bits = new Uint32Array(data.slice().buffer);
  const half = Uint16Array.from(bits, (value, i) => (dtype === 'BF16' ? value >>> 16 : float16(data[i]!)));
  return new Uint8Array(half.buffer);
}

function float16(value: number): number {
  const sign = value < 0 ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude < 2 ** -14) return sign | Math.round(magnitude * 2 ** 24);
  const exponent = Math.floor(Math.log2(magnitude));
  return sign | (Math.round((magnitude / 2 ** exponent - 1) * 1024) + ((exponent + 15) << 10));
}

/** A scratch directory that goes away with the test file. */
export async function scratch(): Promise<{ path: (name: string) => string; remove: () => Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'convert-'));
  return { path: (name) => join(root, name), remove: () => rm(root, { recursive: true, force: true }) };
}

/** A copy of the tiny checkpoint without its weights. */
export async function copyWithoutWeights(to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await cp(tiny, to, { recursive: true, filter: (path) => !path.endsWith('.safetensors') });
}

/** A copy of the tiny checkpoint with changed weights, as one safetensors file. */
export async function copyWithWeights(
  to: string,
  change: (tensors: Map<string, Values>) => Map<string, Values> | undefined,
  dtype: StoredType = 'BF16',
): Promise<void> {
  await copyWithoutWeights(to);
  const tensors = await readTensors(join(tiny, 'model.safetensors'));
  await writeSafetensors(join(to, 'model.safetensors'), change(tensors) ?? tensors, dtype);
}

/** Changes a JSON file of a copied checkpoint. */
export async function edit(path: string, change: (content: Record<string, unknown>) => void): Promise<void> {
  const content = JSON.parse(await readFile(path, 'utf8'));
  change(content);
  await writeFile(path, JSON.stringify(content));
}
