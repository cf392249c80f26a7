import { type FileHandle, open } from 'node:fs/promises';
import { ElasticCacheError } from '../../../errors.js';
import type { ByteSource } from '../../../graph/onnx/byte-source.js';

/**
 * A file read by position: of a model of many gigabytes only the graph is ever brought into memory,
 * the weights stay where they are.
 */
export class FileSource implements ByteSource {
  private constructor(
    readonly path: string,
    /** Length of the file, bytes. */
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  /** Opens `path` for reading. Throws `missing-file` when there is no such file, or something else of its name. */
  static async open(path: string): Promise<FileSource> {
    const handle = await open(path, 'r').catch((cause: unknown) => {
      throw new ElasticCacheError('missing-file', `${path} cannot be opened; check the path.`, { cause });
    });
    const found = await handle.stat();
    if (found.isFile()) return new FileSource(path, found.size, handle);
    await handle.close();
    throw new ElasticCacheError(
      'missing-file',
      `${path} is ${found.isDirectory() ? 'a directory' : 'no file'}; give the path of an .onnx file.`,
    );
  }

  /** Bytes [offset, offset + length), fewer where the file ends. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.handle.read(bytes, filled, length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}
