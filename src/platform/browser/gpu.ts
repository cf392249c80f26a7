import { env } from '@huggingface/transformers';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type * as ort from '../ort.js';
import { Downloads } from './downloads.js';

/** Whether this browser knows WebGPU; whether there is a GPU for it shows when a model is opened. */
export function hasWebGpu(): boolean {
  return 'gpu' in navigator;
}

/** @throws ElasticCacheError `invalid-option` where there is no GPU: ONNX Runtime would not get over having looked for it */
export async function refuseWithoutGpu(): Promise<void> {
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (adapter) return;
  throw new ElasticCacheError(
    'invalid-option',
    'This browser knows WebGPU and has no GPU for it here; load the model with device "wasm", or see what the browser says of its GPU (chrome://gpu).',
  );
}

/** Milliseconds. */
const SOON = 200;

type Opened = ort.InferenceSession;
type Tensor = ort.Tensor;
/** As ONNX Runtime has it for browsers. */
type TensorClass = ort.TensorClass & {
  fromGpuBuffer(buffer: GPUBuffer, options: { dataType: Tensor['type']; dims: readonly number[] }): Tensor;
};

/**
 * A graph opened on the GPU. Its outputs stay there until a run is over, and all come down in one piece: ONNX Runtime would wait for each by itself.
 *
 * A run that failed leaves the session with inputs that it feeds again: it is opened anew for the next.
 */
export class GpuSession implements Pick<Opened, 'run' | 'release'>, ort.Gpu {
  private readonly downloads: Downloads;
  private readonly whenLost: Promise<ElasticCacheError>;

  private constructor(
    private session: Opened | undefined,
    private readonly open: () => Promise<Opened>,
    readonly device: GPUDevice,
    private readonly Tensor: TensorClass,
  ) {
    this.downloads = new Downloads(device, Tensor);
    this.whenLost = device.lost.then(({ message, reason }) => lostDevice(message || reason));
  }

  static async create(
    Session: ort.InferenceSessionClass,
    Tensor: ort.TensorClass,
    model: Uint8Array | string,
    options: ort.SessionOptions,
  ): Promise<Opened> {
    const open = () => Session.create(model, { ...options, preferredOutputLocation: 'gpu-buffer' });
    const session = await open().catch((cause: unknown) => {
      throw withoutWebGpu(cause) ?? cause;
    });
    const { device } = env.backends.onnx.webgpu as unknown as { device: GPUDevice | Promise<GPUDevice> };
    const { inputNames, outputNames, inputMetadata, outputMetadata } = session;
    const gpu = new GpuSession(session, open, await device, Tensor as TensorClass);
    const run: Opened['run'] = (feeds, fetches) => gpu.run(feeds, fetches);
    const release = () => gpu.release();
    return { inputNames, outputNames, inputMetadata, outputMetadata, run, release, gpu };
  }

  /** What is written to memory that was given for it stays there. @throws ElasticCacheError `device-lost` */
  async run(feeds: Readonly<Record<string, Tensor>>, fetches?: ort.Fetches) {
    const session = this.session ?? (await this.open());
    this.session = undefined;
    const running = session
      .run(feeds, fetches)
      .then((outputs) => this.downloads.of(unbound(outputs, fetches)));
    try {
      // A GPU that is gone may never answer.
      const given = await Promise.race([running, this.whenLost]);
      if (given instanceof ElasticCacheError) throw given;
      this.session = session;
      return given;
    } catch (cause) {
      running.catch(() => {});
      const lost = await this.lost();
      if (!lost) await session.release().catch(() => {});
      throw lost ?? cause;
    }
  }

  /** The browser tells of it somewhat later than the first run fails. */
  lost(): Promise<ElasticCacheError | undefined> {
    const soon = new Promise<undefined>((resolve) => setTimeout(resolve, SOON));
    return Promise.race([this.whenLost, soon]);
  }

  async release(): Promise<void> {
    this.downloads.release();
    await this.session?.release();
  }

  /** A tensor over memory of the GPU. */
  tensorOf(buffer: GPUBuffer, type: Tensor['type'], dims: readonly number[]): Tensor {
    return this.Tensor.fromGpuBuffer(buffer, { dataType: type, dims });
  }
}

/** Outputs for which no memory was given. */
function unbound(
  outputs: Readonly<Record<string, Tensor>>,
  fetches: ort.Fetches = [],
): Record<string, Tensor> {
  const given = Array.isArray(fetches) ? {} : (fetches as Readonly<Record<string, Tensor | null>>);
  return Object.fromEntries(Object.entries(outputs).filter(([name]) => !given[name]));
}

/** What to throw where the WebAssembly that a page names cannot use a GPU. */
function withoutWebGpu(cause: unknown): ElasticCacheError | undefined {
  if (!reasonOf(cause).includes('webgpuInit is not a function')) return undefined;
  return new ElasticCacheError(
    'invalid-option',
    'env.backends.onnx.wasm.wasmPaths names a file of ONNX Runtime\'s that runs nothing on a GPU; name ort-wasm-simd-threaded.asyncify.mjs and .wasm, or use device "wasm".',
    { cause },
  );
}

function lostDevice(reason: string): ElasticCacheError {
  return new ElasticCacheError(
    'device-lost',
    `The browser has taken the GPU away (${reason}). What caches hold is still there: load the model again, with device "wasm" or in a new worker, and go on with them, or save them.`,
  );
}
