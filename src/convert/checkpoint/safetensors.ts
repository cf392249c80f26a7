import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { decodeBFloat16, decodeFloat16 } from './half-floats.js';

/** One tensor of a safetensors file: where its bytes lie in the file and what they are. */
export interface TensorEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
}

const headerSchema = z.record(
  z.string(),
  z.object({
    dtype: z.string(),
    shape: z.array(z.number().int().nonnegative()),
    data_offsets: z.tuple([z.number().int().nonnegative(), z.number().int().nonnegative()]),
  }),
);

const bytesPerElement: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };

/** Bytes of 16-bit numbers held at once while a tensor is widened to float32. */
const slab = 1 << 24;

/**
 * A safetensors file that is read tensor by tensor, never as a whole.
 * Format: an 8-byte little-endian header length, a JSON header, the bytes of the tensors.
 */
export class SafetensorsFile {
  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    readonly tensors: ReadonlyMap<string, TensorEntry>,
  ) {}

  /** @throws ElasticCacheError 'invalid-checkpoint' when the header is damaged or the file ends before its tensors do. */
  static async open(path: string): Promise<SafetensorsFile> {
    const handle = await open(path).catch((cause: unknown) => {
      throw new ElasticCacheError('missing-file', `${path} cannot be read: download the whole checkpoint.`, {
        cause,
      });
    });
    try {
      return new SafetensorsFile(path, handle, await readHeader(path, handle));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * The values of one tensor as float32, row-major [shape].
   * @throws ElasticCacheError 'invalid-checkpoint' when the tensor is of a type other than F32, F16, BF16.
   */
  async read(name: string): Promise<Float32Array> {
    const entry = this.tensors.get(name)!;
    const width = bytesPerElement[entry.dtype];
    if (width === undefined) {
      throw new ElasticCacheError(
        'invalid-checkpoint',
        `Tensor "${name}" in ${basename(this.path)} is stored as ${entry.dtype}: save the checkpoint as float32, float16 or bfloat16.`,
      );
    }
    const values = new Float32Array(entry.length / width);
    if (width === 4) {
      await this.fill(new Uint8Array(values.buffer), entry.offset);
      return values;
    }
    const decode = entry.dtype === 'BF16' ? decodeBFloat16 : decodeFloat16;
    const buffer = new Uint16Array(Math.min(slab, entry.length) / 2);
    for (let done = 0; done < values.length; done += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, values.length - done));
      await this.fill(new Uint8Array(part.buffer, 0, part.byteLength), entry.offset + done * 2);
      decode(part, values.subarray(done, done + part.length));
    }
    return values;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  private async fill(target: Uint8Array, offset: number): Promise<void> {
    // A single read returns at most 2 GB.
    for (let done = 0; done < target.length; ) {
      const { bytesRead } = await this.handle.read(
        target,
        done,
        Math.min(target.length - done, 1 << 30),
        offset + done,
      );
      if (bytesRead === 0) throw truncated(this.path);
      done += bytesRead;
    }
  }
}

async function readHeader(path: string, handle: FileHandle): Promise<Map<string, TensorEntry>> {
  const { size } = await handle.stat();
  const prefix = Buffer.alloc(8);
  if ((await handle.read(prefix, 0, 8, 0)).bytesRead < 8) throw truncated(path);
  const headerLength = Number(prefix.readBigUInt64LE());
  if (headerLength > size - 8) throw truncated(path);
  const text = Buffer.alloc(headerLength);
  if ((await handle.read(text, 0, headerLength, 8)).bytesRead < headerLength) throw truncated(path);
  const header = parseHeader(path, text.toString('utf8'));
  const tensors = new Map<string, TensorEntry>();
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [start, end],
    },
  ] of Object.entries(header)) {
    const width = bytesPerElement[dtype];
    const count = shape.reduce((product, dim) => product * dim, 1);
    if (end < start || (width !== undefined && end - start !== count * width)) {
      throw new ElasticCacheError(
        'invalid-checkpoint',
        `Tensor "${name}" in ${basename(path)} says ${dtype} [${shape.join(', ')}] but has ${end - start} bytes: the file is damaged, download it again.`,
      );
    }
    if (8 + headerLength + end > size) throw truncated(path);
    tensors.set(name, { dtype, shape, offset: 8 + headerLength + start, length: end - start });
  }
  return tensors;
}

function parseHeader(path: string, text: string): z.infer<typeof headerSchema> {
  try {
    const { __metadata__: _, ...header } = z.record(z.string(), z.unknown()).parse(JSON.parse(text));
    return headerSchema.parse(header);
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `${basename(path)} is not a safetensors file, its header cannot be read: download it again.`,
      { cause },
    );
  }
}

function truncated(path: string): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-checkpoint',
    `${basename(path)} is truncated, it ends before its last tensor: download it again.`,
  );
}
