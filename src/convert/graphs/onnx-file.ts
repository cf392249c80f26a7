import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GraphBuilder } from '../../graph/onnx/builder.js';
import { type DataType, serializeModel } from '../../graph/onnx/onnx.js';

/** ONNX Runtime maps external data into memory page by page. */
const page = 4096;
/** Smaller tensors stay inside the graph, where optimisers can fold them. */
const inlineLimit = 1024;
/** Browsers refuse buffers of 2 GiB and more: a data file ends before that, and the next one begins. */
const fileLimit = 2 ** 31 - 2 ** 24;

/**
 * An ONNX model written as it is built: every large tensor goes straight to `<name>.onnx_data` (then `_data_1`, ...;
 * the names transformers.js looks for), so that no more than one is in memory.
 */
export class OnnxFile {
  readonly builder: GraphBuilder;
  private handle: FileHandle | undefined;
  private offset = 0;
  /** Data files begun so far. */
  private count = 0;

  constructor(
    private readonly directory: string,
    /** The file's name, for instance `decoder_model_merged_q4.onnx`. */
    readonly name: string,
  ) {
    this.builder = GraphBuilder.create(name, { '': 21, 'com.microsoft': 1 });
  }

  /** Writes the bytes of an initializer [dims] as they come and returns its name; `length` is their sum. */
  async write(
    hint: string,
    dataType: DataType,
    dims: readonly number[],
    length: number,
    chunks: Iterable<Uint8Array>,
  ): Promise<string> {
    if (length < inlineLimit) return this.builder.raw(hint, dataType, dims, Buffer.concat([...chunks]));
    const handle = await this.dataFile(length);
    const start = Math.ceil(this.offset / page) * page;
    let end = start;
    for (const chunk of chunks) {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await handle.write(chunk, done, Math.min(chunk.length - done, 1 << 30), end);
        done += bytesWritten;
        end += bytesWritten;
      }
    }
    this.offset = end;
    return this.builder.external(hint, dataType, dims, {
      location: this.dataName(this.count - 1),
      offset: start,
      length,
    });
  }

  /** Writes the graph itself; says how many data files belong to it. */
  async finish(): Promise<number> {
    await this.close();
    await writeFile(join(this.directory, this.name), serializeModel(this.builder.model));
    return this.count;
  }

  async close(): Promise<void> {
    await this.handle?.close();
    this.handle = undefined;
  }

  private async dataFile(length: number): Promise<FileHandle> {
    if (this.handle && this.offset + page + length <= fileLimit) return this.handle;
    await this.close();
    this.offset = 0;
    this.handle = await open(join(this.directory, this.dataName(this.count++)), 'w');
    return this.handle;
  }

  private dataName(index: number): string {
    return `${this.name}_data${index === 0 ? '' : `_${index}`}`;
  }
}
