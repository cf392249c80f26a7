/** Counts what a page asks of its GPU. */

export interface GpuCounts {
  dispatches: number;
  /** From one place of its memory to another. */
  copies: number;
  /** Times that something was waited for, and the bytes that came down. */
  maps: number;
  bytesDown: number;
  /** Times that something was written from the host, by a queue's own call, and the bytes. */
  writes: number;
  bytesUp: number;
  buffersMade: number;
  buffersGone: number;
  bytesMade: number;
  bytesGone: number;
}

const none = (): GpuCounts => ({
  ...{ dispatches: 0, copies: 0, maps: 0, bytesDown: 0, writes: 0, bytesUp: 0 },
  ...{ buffersMade: 0, buffersGone: 0, bytesMade: 0, bytesGone: 0 },
});

let counts = none();
/** What the GPU finds fault with. */
export const faults: string[] = [];

type ArgumentsOf<F> = F extends (...args: infer A) => unknown ? A : never;

/** Has `note` hear of each call of a method before it is made. */
function watch<T, N extends keyof T>(
  { prototype }: { prototype: T },
  name: N,
  note: (self: T, ...args: ArgumentsOf<T[N]>) => void,
): void {
  const original = prototype[name] as (...args: unknown[]) => unknown;
  prototype[name] = function (this: T, ...args: ArgumentsOf<T[N]>) {
    note(this, ...args);
    return original.apply(this, args);
  } as T[N];
}

/** @param subgroups whether devices have them where there are any */
export function watchGpu({ subgroups }: { subgroups: boolean }): void {
  if (!('gpu' in navigator)) return;
  if (!subgroups) withoutSubgroups();
  const gone = new WeakSet<GPUBuffer>();
  const watched = new WeakSet<GPUDevice>();
  watch(GPUDevice, 'createBuffer', (device, { size, mappedAtCreation }) => {
    counts.buffersMade++;
    counts.bytesMade += size;
    if (mappedAtCreation) counts.bytesUp += size;
    if (watched.has(device)) return;
    watched.add(device);
    device.addEventListener('uncapturederror', ({ error }) => faults.push(error.message));
  });
  watch(GPUBuffer, 'destroy', (buffer) => {
    if (gone.has(buffer)) return;
    gone.add(buffer);
    counts.buffersGone++;
    counts.bytesGone += buffer.size;
  });
  watch(GPUBuffer, 'mapAsync', (buffer, mode, _offset, size) => {
    if (mode !== 1) return;
    counts.maps++;
    counts.bytesDown += size ?? buffer.size;
  });
  watch(GPUQueue, 'writeBuffer', (_queue, _buffer, _offset, data, _start, size) => {
    counts.writes++;
    counts.bytesUp += size ?? data.byteLength;
  });
  watch(GPUCommandEncoder, 'copyBufferToBuffer', () => {
    counts.copies++;
  });
  for (const name of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect'] as const)
    watch(GPUComputePassEncoder, name, () => {
      counts.dispatches++;
    });
}

/** SwiftShader's subgroups are of 4, and ONNX Runtime's own attention is wrong with them: of vision encoders, and of decoders that nobody rewrote. */
function withoutSubgroups(): void {
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    const features = Array.from(descriptor?.requiredFeatures ?? []);
    const requiredFeatures = features.filter((feature) => feature !== 'subgroups');
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
}

/** What was counted since it was asked last. */
export function gpuCounts(): GpuCounts {
  const since = counts;
  counts = none();
  return since;
}

/** Makes ONNX Runtime's own attention over what is held wrong, as it is on some devices: scores are a tenth less. */
export function spoilAttention(): void {
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    const isAttention = descriptor.label?.startsWith('FlashAttentionDecode');
    const code = isAttention
      ? descriptor.code.replace('uniforms.alpha)', '0.9 * uniforms.alpha)')
      : descriptor.code;
    return createShaderModule.call(this, { ...descriptor, code });
  };
}
