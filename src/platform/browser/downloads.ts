import type * as ort from '../ort.js';

type Tensor = ort.Tensor;
type Outputs = Record<string, Tensor>;

/** As WebGPU's specification numbers them. */
const USAGE = { MAP_READ: 0x1, COPY_DST: 0x8 } as const;
const MAP_TO_READ = 0x1;

/** How many times the memory is larger than what comes down before it is given back: a prompt brings hundreds of times what a token brings. */
const WASTEFUL = 16;

/** Brings tensors from the GPU: all of a run in one piece of memory, which is kept for the next. */
export class Downloads {
  private staging: GPUBuffer | undefined;

  constructor(
    private readonly device: GPUDevice,
    private readonly Tensor: ort.TensorClass,
  ) {}

  /** Tensors on the host; those on the GPU are disposed of. */
  async of(outputs: Outputs): Promise<Outputs> {
    const places: { name: string; tensor: Tensor; start: number; bytes: number }[] = [];
    let total = 0;
    for (const [name, tensor] of Object.entries(outputs)) {
      // What is empty is on the host as it is.
      if (tensor.location !== 'gpu-buffer') continue;
      const bytes = bytesOf(tensor);
      places.push({ name, tensor, start: total, bytes });
      total += Math.ceil(bytes / 4) * 4;
    }
    if (total === 0) return outputs;
    const staging = this.stagingFor(total);
    const encoder = this.device.createCommandEncoder();
    for (const { tensor, start, bytes } of places)
      encoder.copyBufferToBuffer(bufferOf(tensor), 0, staging, start, Math.ceil(bytes / 4) * 4);
    this.device.queue.submit([encoder.finish()]);
    for (const { tensor } of places) tensor.dispose();
    await staging.mapAsync(MAP_TO_READ, 0, total);
    const all = staging.getMappedRange(0, total);
    const given = { ...outputs };
    for (const { name, tensor, start, bytes } of places) {
      // Each has memory of its own: whoever takes one for a block of rows lets it grow there.
      const data = arrayOf(tensor.type, all.slice(start, start + bytes));
      given[name] = new this.Tensor(tensor.type, data, tensor.dims);
    }
    staging.unmap();
    return given;
  }

  release(): void {
    this.staging?.destroy();
    this.staging = undefined;
  }

  private stagingFor(bytes: number): GPUBuffer {
    const { staging } = this;
    if (staging && staging.size >= bytes && staging.size <= WASTEFUL * bytes) return staging;
    staging?.destroy();
    const usage = USAGE.MAP_READ | USAGE.COPY_DST;
    this.staging = this.device.createBuffer({ size: bytes, usage });
    return this.staging;
  }
}

const ARRAYS = {
  float32: Float32Array,
  float16: Uint16Array,
  int32: Int32Array,
  int64: BigInt64Array,
} as const;

function arrayOf(type: Tensor['type'], buffer: ArrayBuffer): Tensor['data'] {
  return new ARRAYS[type as keyof typeof ARRAYS](buffer);
}

function bytesOf({ type, dims }: Tensor): number {
  return dims.reduce(
    (product, size) => product * size,
    ARRAYS[type as keyof typeof ARRAYS].BYTES_PER_ELEMENT,
  );
}

function bufferOf(tensor: Tensor): GPUBuffer {
  return (tensor as unknown as { gpuBuffer: GPUBuffer }).gpuBuffer;
}
