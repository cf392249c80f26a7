import { createRequire } from 'node:module';
import type * as ort from '../ort.js';

export type * from '../ort.js';
export type InferenceSession = ort.InferenceSession;
export type Tensor = ort.Tensor;

/**
 * ONNX Runtime as transformers.js has it, for everything here that opens a session or makes a tensor of one.
 *
 * Two versions of onnxruntime-node cannot be loaded in one process, and transformers.js only takes tensors of its own copy for tensors. So the
 * package is resolved from where transformers.js lies: a decoder that is a model's only session gets its class there too. This is the one file that
 * says so.
 */
interface OnnxRuntime {
  InferenceSession: ort.InferenceSessionClass;
  Tensor: ort.TensorClass;
  /** The execution providers that it was built with. */
  listSupportedBackends(): readonly { name: string }[];
}

const beside = createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers'));
const onnxRuntime = beside('onnxruntime-node') as OnnxRuntime;

export const { InferenceSession, Tensor } = onnxRuntime;

/** What a decoder runs on unless told. */
export const DEFAULT_DEVICE: string = 'cpu';

/** Names of what a decoder can run on here: the execution providers of this machine's ONNX Runtime. */
export function devices(): string[] {
  return onnxRuntime.listSupportedBackends().map(({ name }) => name);
}

/** Session options for so many threads of one operator. */
export function threadOptions(threads: number): ort.SessionOptions {
  return { intraOpNumThreads: threads };
}
