import type * as ort from '../ort.js';

type Tensor = ort.Tensor;
type Outputs = Record<string, Tensor>;

/** A tensor on the GPU, and where it goes in what comes down. */
interface Place {
  readonly name: string;
  readonly tensor: Tensor;
  readonly start: number;
  readonly bytes: number;
}

/** As WebGPU's specification numbers them. */
const USAGE = { MAP_READ: 0x1, COPY_DST: 0x8 } as const;
const MAP_TO_READ = 0x1;

/** How many times the memory is larger than what comes down before it is given back: a prompt brings hundreds of times what a token brings. */
const WASTEFUL = 16;

/** Brings tensors from the GPU: all of a run in one piece, in memory that is kept for the next. */
export class Downloads {
  private staging: GPUBuffer | undefined;

  /** @param most bytes of a piece; the keys and values of a long prompt may be more than one buffer takes */
  constructor(
    private readonly device: GPUDevice,
    private readonly Tensor: ort.TensorClass,
    private readonly most = device.limits.maxBufferSize,
  ) {}

  /** Tensors on the host; those on the GPU are disposed of. */
  async of(outputs: Outputs): Promise<Outputs> {
    const given = { ...outputs };
    for (const piece of piecesOf(outputs, this.most)) Object.assign(given, await this.piece(piece));
    return given;
  }

  release(): void {
    this.staging?.destroy();
    this.staging = undefined;
  }

  private async piece(places: readonly Place[]): Promise<Outputs> {
    const { start, bytes } = places.at(-1)!;
    const total = start + padded(bytes);
    const staging = this.stagingFor(total);
    const encoder = this.device.createCommandEncoder();
    for (const { tensor, start, bytes } of places)
      encoder.copyBufferToBuffer(bufferOf(tensor), 0, staging, start, padded(bytes));
    this.device.queue.submit([encoder.finish()]);
    for (const { tensor } of places) tensor.dispose();
    await staging.mapAsync(MAP_TO_READ, 0, total);
    const all = staging.getMappedRange(0, total);
    const given: Outputs = {};
    for (const { name, tensor, start, bytes } of places) {
      // Each has memory of its own: whoever takes one for a block of rows lets it grow there.
      const data = arrayOf(tensor.type, all.slice(start, start + bytes));
      given[name] = new this.Tensor(tensor.type, data, tensor.dims);
    }
    staging.unmap();
    return given;
  }

  private stagingFor(bytes: number): GPUBuffer {
    const { staging } = this;
    if (staging && staging.size >= bytes && staging.size <= WASTEFUL * bytes) return staging;
    staging?.destroy();
    this.staging = this.device.createBuffer({ size: bytes, usage: USAGE.MAP_READ | USAGE.COPY_DST });
    return this.staging;
  }
}

/** What lies on the GPU, in pieces of at most so many bytes or of one tensor. What is empty is on the host as it is. */
function piecesOf(outputs: Outputs, most: number): Place[][] {
  const pieces: Place[][] = [];
  let end = Number.POSITIVE_INFINITY;
  for (const [name, tensor] of Object.entries(outputs)) {
    if (tensor.location !== 'gpu-buffer') continue;
    const bytes = bytesOf(tensor);
    if (end + padded(bytes) > most) {
      pieces.push([]);
      end = 0;
    }
    pieces.at(-1)!.push({ name, tensor, start: end, bytes });
    end += padded(bytes);
  }
  return pieces;
}

/** Bytes are copied in fours. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
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
