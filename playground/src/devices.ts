import { ui } from './elements.js';
import { nameOf } from './gpu-name.js';
import type { Device, OnServer, RunningOn } from './messages.js';

/** Offers what this browser can run a model on, and says why it cannot on a GPU. Models of the Hub run on a GPU where there is one; what is made of software is none. */
export async function offerDevices(): Promise<void> {
  const option = ui.runsOn.querySelector<HTMLOptionElement>('option[value=webgpu]')!;
  if (!('gpu' in navigator)) {
    ui.runsOnHint.textContent = 'This browser has no WebGPU.';
    return;
  }
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) {
    ui.runsOnHint.textContent = 'This browser has WebGPU, and no GPU for it on this machine.';
    return;
  }
  option.disabled = false;
  const { info } = adapter;
  const isSoftware = info.isFallbackAdapter || info.architecture === 'swiftshader';
  if (!isSoftware) ui.runsOn.value = 'webgpu' satisfies Device;
  const half = adapter.features.has('shader-f16') ? '' : ' It takes no half precision (fp16, q4f16).';
  ui.runsOnHint.textContent = `WebGPU is there: ${nameOf(info)}.${half}`;
}

/** What the model runs on, in the corner of the page. */
export function showDevice(on: RunningOn | OnServer): void {
  ui.device.hidden = false;
  if ('server' in on) {
    ui.device.textContent = on.server;
    ui.device.title = 'The model of this server.';
    return;
  }
  const { device, threads, gpu } = on;
  ui.device.textContent =
    device === 'webgpu'
      ? `WebGPU, ${gpu}`
      : `WebAssembly, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  ui.device.title =
    device === 'webgpu' ? 'The model runs on the GPU.' : 'The model runs on the processor; see Model.';
}
