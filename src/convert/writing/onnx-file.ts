import { GraphBuilder } from '../../graph/onnx/builder.js';
import { type DataType, serializeModel } from '../../graph/onnx/onnx.js';
import type { Bytes, Pass } from './passes.js';

/** ONNX Runtime maps external data into memory page by page. */
const page = 4096;
/** Smaller tensors stay inside the graph, where optimisers can fold them. */
const inlineLimit = 1024;
/** Browsers refuse buffers of 2 GiB and more: a data file ends before that, and the next one begins. */
const fileLimit = 2 ** 31 - 2 ** 24;

/**
 * An ONNX model as it is built: every large tensor has its place in `<name>.onnx_data` (then `_data_1`, ...; the names transformers.js
 * looks for), where a pass does with it what it does, so that no more than one is in memory.
 */
export class OnnxFile {
  readonly builder: GraphBuilder;
  private end = 0;
  /** Data files begun so far. */
  private count = 0;

  constructor(
    /** The file's name, for instance `decoder_model_merged_q4.onnx`. */
    readonly name: string,
    private readonly pass: Pass,
  ) {
    this.builder = GraphBuilder.create(name, { '': 21, 'com.microsoft': 1 });
  }

  /** Adds an initializer [dims] of `length` bytes and returns its name. */
  async write(
    hint: string,
    dataType: DataType,
    dims: readonly number[],
    length: number,
    bytes: Bytes,
  ): Promise<string> {
    if (length < inlineLimit) {
      const small = this.pass.wantsSmall ? Buffer.concat([...(await bytes())]) : new Uint8Array(length);
      return this.builder.raw(hint, dataType, dims, small);
    }
    const offset = this.place(length);
    const location = `${this.name}_data${this.count === 1 ? '' : `_${this.count - 1}`}`;
    await this.pass.tensor({ tensor: hint, file: location, offset, length }, bytes);
    return this.builder.external(hint, dataType, dims, { location, offset, length });
  }

  /** Adds the graph itself; says how many data files belong to it. */
  async finish(): Promise<number> {
    await this.pass.graph(this.name, serializeModel(this.builder.model));
    return this.count;
  }

  /** Where the next tensor begins in the file at hand, or in a new one. */
  private place(length: number): number {
    const next = Math.ceil(this.end / page) * page;
    const offset = this.count > 0 && next + length <= fileLimit ? next : 0;
    if (offset === 0) this.count++;
    this.end = offset + length;
    return offset;
  }
}
