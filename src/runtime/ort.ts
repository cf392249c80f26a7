import { createRequire } from 'node:module';
import type { PretrainedModelOptions, Tensor as TransformersTensor } from '@huggingface/transformers';

/**
 * ONNX Runtime as transformers.js has it, for everything here that opens a session or makes a tensor of one.
 *
 * Two versions of onnxruntime-node cannot be loaded in one process, and transformers.js only takes tensors of its own copy for tensors. So the
 * package is resolved from where transformers.js lies: a decoder that is a model's only session gets its class there too. This is the one file that
 * says so; where there is no Node, the same two classes are the constructors of a session that transformers.js has opened and of what it returns.
 */

/** How a session is opened. */
export type SessionOptions = NonNullable<PretrainedModelOptions['session_options']>;

/** A tensor of ONNX Runtime; transformers.js wraps it in one of its own. */
export type Tensor = TransformersTensor['ort_tensor'];

/** An opened graph. */
export interface InferenceSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
  /** @param fetches names of the outputs that are wanted; all unless given */
  run(feeds: Readonly<Record<string, Tensor>>, fetches?: readonly string[]): Promise<Record<string, Tensor>>;
  /** Frees its memory. */
  release(): Promise<void>;
}

/** What a graph says of an input or output; names stand for axes that are not fixed. */
export interface ValueMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type: Tensor['type'];
  readonly shape: readonly (number | string)[];
}

interface OnnxRuntime {
  InferenceSession: {
    /** @param model the file's bytes or its path */
    create(model: Uint8Array | string, options?: SessionOptions): Promise<InferenceSession>;
  };
  Tensor: new (
    type: Tensor['type'],
    data: Tensor['data'] | readonly number[] | readonly bigint[] | readonly boolean[],
    dims: readonly number[],
  ) => Tensor;
  /** The execution providers that it was built with. */
  listSupportedBackends(): readonly { name: string }[];
}

const beside = createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers'));

export const { InferenceSession, Tensor, listSupportedBackends } = beside('onnxruntime-node') as OnnxRuntime;
