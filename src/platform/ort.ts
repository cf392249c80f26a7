import type { PretrainedModelOptions, Tensor as TransformersTensor } from '@huggingface/transformers';

/** ONNX Runtime's types, as transformers.js has them: of its two classes, `#platform/ort.js` gives the copy that transformers.js runs on. */

/** How a session is opened. */
export type SessionOptions = NonNullable<PretrainedModelOptions['session_options']>;

/** A tensor of ONNX Runtime; transformers.js wraps it in one of its own. */
export type Tensor = TransformersTensor['ort_tensor'];

export type TensorClass = new (
  type: Tensor['type'],
  data: Tensor['data'] | readonly number[] | readonly bigint[] | readonly boolean[],
  dims: readonly number[],
) => Tensor;

/** Names of outputs, or with them where each is written; null where it comes in memory of its own. */
export type Fetches = readonly string[] | Readonly<Record<string, Tensor | null>>;

/** An opened graph. */
export interface InferenceSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
  /** @param fetches the outputs that are wanted; all unless given */
  run(feeds: Readonly<Record<string, Tensor>>, fetches?: Fetches): Promise<Record<string, Tensor>>;
  /** Frees its memory. */
  release(): Promise<void>;
  /** Where it runs on a GPU whose memory is ours to write. */
  readonly gpu?: Gpu | undefined;
}

/** WebGPU's own classes, where a program is compiled for browsers: one for Node alone need not know them. */
type Device = typeof globalThis extends { GPUDevice: { prototype: infer Class } } ? Class : object;
type Buffer = typeof globalThis extends { GPUBuffer: { prototype: infer Class } } ? Class : object;

/** A GPU that ONNX Runtime runs on, and that takes what lies in its memory for the tensors of a run. */
export interface Gpu {
  readonly device: Device;
  /** What to throw where a run failed since the GPU is gone; undefined where it is there. */
  lost(): Promise<Error | undefined>;
  /** @param buffer memory of at least so many bytes, which is left alone while a run reads it */
  tensorOf(buffer: Buffer, type: Tensor['type'], dims: readonly number[]): Tensor;
}

export interface InferenceSessionClass {
  /** @param model the file's bytes, or where there are files its path */
  create(model: Uint8Array | string, options?: SessionOptions): Promise<InferenceSession>;
}

/** What a graph says of an input or output; names stand for axes that are not fixed. */
export interface ValueMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type: Tensor['type'];
  readonly shape: readonly (number | string)[];
}
