import type { ByteSource } from '../graph/onnx/byte-source.js';
import type { Model } from '../graph/onnx/onnx.js';
import type { SessionOptions } from './ort.js';

/** The file that a graph lies in, with its weights or beside the files that hold them. */
export interface GraphFile {
  /** Without its folder. */
  readonly name: string;
  readonly source: ByteSource;
  /**
   * Makes the external weights of a model, which was read from here and may have been changed, ready to be loaded with it.
   * @param model changed in place: locations are rewritten
   * @throws ElasticCacheError `missing-file` when a file is not there, `invalid-model` when one ends before its last tensor or
   *   is named outside the model's directory
   */
  settle(model: Model): Promise<Settled>;
  close(): Promise<void>;
}

export interface Settled {
  /** Bytes here and there in the weights, which tell them from others. */
  readonly samples: Uint8Array;
  /** What ONNX Runtime is told beside the model. */
  readonly options: SessionOptions;
}
