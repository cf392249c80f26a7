import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { decodeBFloat16, decodeFloat16 } from './half-floats.js';

/** One tensor of a file: where its bytes lie and what they are. */
export interface TensorEntry {
  /** As safetensors names them. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
  /** What else stands in the way of reading it, as the end of a sentence that begins with its name and its file. */
  readonly obstacle?: string;
}

/** Finds the tensors of a file without reading their numbers. */
export type HeaderReader = (path: string, handle: FileHandle) => Promise<ReadonlyMap<string, TensorEntry>>;

/** Bytes of a number in each type that can be read. */
export const bytesPerElement: ReadonlyMap<string, number> = new Map([
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
]);

/** A part of each group of a tensor's rows: [groups x of x rows, ...] at `index` of the second. */
export interface Part {
  readonly index: number;
  readonly of: number;
  readonly groups: number;
}

/** Bytes of 16-bit numbers held at once while a tensor is widened to float32. */
const slab = 1 << 24;

/** A file of weights that is read tensor by tensor, never as a whole. */
export class TensorFile {
  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    readonly tensors: ReadonlyMap<string, TensorEntry>,
  ) {}

  /**
   * @throws ElasticCacheError 'missing-file', or 'invalid-checkpoint' when the header is damaged or the file ends before its
   * tensors do.
   */
  static async open(path: string, readHeader: HeaderReader): Promise<TensorFile> {
    const handle = await open(path).catch((cause: unknown) => {
      throw new ElasticCacheError('missing-file', `${path} cannot be read: download the whole checkpoint.`, {
        cause,
      });
    });
    try {
      await refusePointer(path, handle);
      return new TensorFile(path, handle, await readHeader(path, handle));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** @throws ElasticCacheError 'invalid-checkpoint' when the numbers of this tensor cannot be read. */
  check(name: string): void {
    const { dtype, obstacle } = this.tensors.get(name)!;
    const reason =
      obstacle ??
      (bytesPerElement.has(dtype)
        ? undefined
        : `is stored as ${dtype}: save the checkpoint as float32, float16 or bfloat16.`);
    if (reason === undefined) return;
    throw new ElasticCacheError('invalid-checkpoint', `Tensor "${name}" in ${basename(this.path)} ${reason}`);
  }

  /**
   * The values of one tensor, or of a part of its rows, as float32, row-major [shape].
   * @throws ElasticCacheError 'invalid-checkpoint' when they cannot be read.
   */
  async read(
    name: string,
    { index, of, groups }: Part = { index: 0, of: 1, groups: 1 },
  ): Promise<Float32Array> {
    this.check(name);
    const { dtype, offset, length } = this.tensors.get(name)!;
    const values = new Float32Array(length / of / bytesPerElement.get(dtype)!);
    const bytes = length / of / groups;
    for (let group = 0; group < groups; group++) {
      const own = values.subarray((group * values.length) / groups, ((group + 1) * values.length) / groups);
      await this.decode(dtype, offset + (group * of + index) * bytes, own);
    }
    return values;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  /** Fills `values` with the numbers that begin at `offset`. */
  private async decode(dtype: string, offset: number, values: Float32Array): Promise<void> {
    if (bytesPerElement.get(dtype) === 4) {
      await this.fill(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset);
      return;
    }
    const decode = dtype === 'BF16' ? decodeBFloat16 : decodeFloat16;
    const buffer = new Uint16Array(Math.min(slab / 2, values.length));
    for (let done = 0; done < values.length; done += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, values.length - done));
      await this.fill(new Uint8Array(part.buffer, 0, part.byteLength), offset + done * 2);
      decode(part, values.subarray(done, done + part.length));
    }
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

/** A repository cloned without its large files holds a few lines of text in their places. */
async function refusePointer(path: string, handle: FileHandle): Promise<void> {
  const start = Buffer.alloc(23);
  await handle.read(start, 0, start.length, 0);
  if (start.toString('latin1') !== 'version https://git-lfs') return;
  throw new ElasticCacheError(
    'invalid-checkpoint',
    `${basename(path)} is a Git LFS pointer, a line of text in place of the weights: run "git lfs pull" there, or download the file.`,
  );
}

/** @param tensor the one that the file does not hold to its end */
export function truncated(path: string, tensor?: string): ElasticCacheError {
  const end = tensor === undefined ? 'its last tensor' : `the end of tensor "${tensor}"`;
  return new ElasticCacheError(
    'invalid-checkpoint',
    `${basename(path)} is truncated, it ends before ${end}: download it again.`,
  );
}
