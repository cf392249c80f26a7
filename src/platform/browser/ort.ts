import {
  env,
  PreTrainedModel,
  type PretrainedConfig,
  Tensor as TransformersTensor,
} from '@huggingface/transformers';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type * as ort from '../ort.js';
import { isOnWebGpu, WEBGPU } from '../webgpu.js';
import { GpuSession, hasWebGpu, refuseWithoutGpu } from './gpu.js';

export type * from '../ort.js';
export type InferenceSession = ort.InferenceSession;
export type Tensor = ort.Tensor;

/**
 * ONNX Runtime as transformers.js has it, through what transformers.js hands out: it takes only tensors of its own copy for tensors, a page need not have
 * another, and no bundler has to know where it lies. Its classes are those of a session that transformers.js has opened and of what that returned, so they are there
 * from the first {@link InferenceSession} on; nobody needs a tensor before.
 */
export let Tensor: ort.TensorClass;

export const InferenceSession: ort.InferenceSessionClass = {
  async create(model, options) {
    const Session = await sessionClass();
    const onGpu = isOnWebGpu(options ?? {});
    if (onGpu) await refuseWithoutGpu();
    const session = await inTurn(() =>
      onGpu ? GpuSession.create(Session, Tensor, model, options!) : Session.create(model, options),
    );
    const { inputNames, outputNames, inputMetadata, outputMetadata, gpu } = session;
    return {
      ...{ inputNames, outputNames, inputMetadata, outputMetadata, gpu },
      run: (feeds, fetches) => inTurn(() => session.run(feeds, fetches)),
      release: () => inTurn(() => session.release()),
    };
  },
};

/** What a decoder runs on unless told. */
export const DEFAULT_DEVICE: string = 'wasm';

/** Names of what a decoder can run on here. */
export function devices(): string[] {
  return hasWebGpu() ? [DEFAULT_DEVICE, WEBGPU] : [DEFAULT_DEVICE];
}

/** Refuses threads for one model alone: there is one WebAssembly for all, which gets them when it starts. @throws ElasticCacheError `invalid-option` */
export function threadOptions(threads: number): ort.SessionOptions {
  throw new ElasticCacheError(
    'invalid-option',
    `In a browser all models share their threads; leave threads out, and set env.backends.onnx.wasm.numThreads = ${threads} of transformers.js before the first model is loaded.`,
  );
}

type Run = () => Promise<object>;

/**
 * Runs a task when ONNX Runtime is free: it takes one run at a time, and transformers.js has its runs wait for each other. What waits there is a model of
 * transformers.js whose session is the task. A task that fails must not fail there: no model in the page would run again.
 */
async function inTurn<T>(task: () => Promise<T>): Promise<T> {
  let outcome: { value: T } | { cause: unknown } | undefined;
  const run: Run = async () => {
    outcome = await task().then(
      (value) => ({ value }),
      (cause: unknown) => ({ cause }),
    );
    return {};
  };
  const model = new PreTrainedModel({} as PretrainedConfig, { model: { inputNames: [], run } }, {});
  await model.forward({}).catch((cause: unknown) => {
    outcome ??= { cause: brokenBefore(cause) };
  });
  if (outcome === undefined) throw brokenBefore('nothing was run');
  if ('cause' in outcome) throw outcome.cause;
  return outcome.value;
}

/** What to throw when transformers.js runs nothing any more. */
function brokenBefore(cause: unknown): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-model',
    `transformers.js runs no model in this page any more, since a run of another model failed (${reasonOf(cause)}); load the page again.`,
    { cause },
  );
}

let found: Promise<ort.InferenceSessionClass> | undefined;

function sessionClass(): Promise<ort.InferenceSessionClass> {
  found ??= ofOpened().catch((cause: unknown) => {
    found = undefined;
    throw new ElasticCacheError(
      'invalid-model',
      `ONNX Runtime cannot be started (${reasonOf(cause)}); see that the page may fetch what env.backends.onnx.wasm.wasmPaths names.`,
      { cause },
    );
  });
  return found;
}

/** A name that no model has. */
const NAME = 'elastic-cache-opens-this';
/** An ONNX graph that gives a number back: `b = Identity(a)`, float32 of any shape, opset 13, IR version 8. */
const GRAPH = 'CAg6KwoQCgFhEgFiIghJZGVudGl0eRIBZ1oJCgFhEgQKAggBYgkKAWISBAoCCAFCAhAN';

/** Has transformers.js open a graph of ours, which nobody fetches, and takes the classes of the session and of what it returns. */
async function ofOpened(): Promise<ort.InferenceSessionClass> {
  const { fetch: theirs } = env;
  const bytes = Uint8Array.from(atob(GRAPH), (character) => character.charCodeAt(0));
  const graph = { status: 200, headers: new Headers(), arrayBuffer: async () => bytes.buffer };
  // No Response: transformers.js would keep it in its cache.
  const ours = (address: string | URL, options?: RequestInit) =>
    String(address).includes(NAME) ? Promise.resolve(graph) : theirs(address, options);
  env.fetch = ours as typeof env.fetch;
  try {
    const config = { model_type: 'custom' } as PretrainedConfig;
    const options = { config, device: 'wasm', dtype: 'fp32' } as const;
    const { sessions } = await PreTrainedModel.from_pretrained(NAME, options);
    const session = sessions.model as ort.InferenceSession;
    const { ort_tensor } = new TransformersTensor('float32', new Float32Array(1), [1]);
    const { b } = await inTurn(() => session.run({ a: ort_tensor }));
    Tensor = b!.constructor as ort.TensorClass;
    await inTurn(() => session.release());
    return session.constructor as unknown as ort.InferenceSessionClass;
  } finally {
    if (env.fetch === (ours as typeof env.fetch)) env.fetch = theirs;
  }
}
