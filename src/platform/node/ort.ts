import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
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

/** Execution providers that are libraries of their own, which ONNX Runtime's install script fetches; asked for without them, it writes lines of its own. */
const APART = ['cuda', 'tensorrt'];

/** Names of what a decoder can run on here: the execution providers of this machine's ONNX Runtime, those left out whose libraries are not installed. */
export function devices(): string[] {
  const folder = join(dirname(beside.resolve('onnxruntime-node')), '..', 'bin');
  const libraries = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const isThere = (name: string) =>
    !APART.includes(name) || libraries.some((file) => file.includes(`onnxruntime_providers_${name}`));
  return onnxRuntime
    .listSupportedBackends()
    .map(({ name }) => name)
    .filter(isThere);
}

/** Session options for so many threads of one operator. */
export function threadOptions(threads: number): ort.SessionOptions {
  return { intraOpNumThreads: threads };
}
