import type { SessionOptions } from './ort.js';

/** What ONNX Runtime calls WebGPU. */
export const WEBGPU = 'webgpu';

/** Whether a session with these options runs by WebGPU. */
export function isOnWebGpu({ executionProviders }: SessionOptions): boolean {
  const [first] = executionProviders ?? [];
  return (typeof first === 'object' ? first.name : first) === WEBGPU;
}
