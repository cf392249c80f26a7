import { env, RawImage } from '@huggingface/transformers';
import * as library from '../../src/browser.js';
import type { PolicyName } from '../../src/policies/registry.js';
import { openDecoder } from '../../src/runtime/open-decoder.js';
import { type Given, plays, type Script, type Told } from './conversations.js';
import { faults, spoilAttention, watchGpu } from './gpu-counts.js';
import { afterLoss, bytesAfter, comesDown, copiesAreEqual, runFixture, stepCounts } from './on-gpu.js';

/** What runs in the browser: the library as its users get it, and transformers.js, with models and ONNX Runtime from the test's server. */

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = '/models/';
env.useWasmCache = false;
env.backends.onnx.wasm!.wasmPaths = '/ort/';

/** RGB pixels that go from here to there. */
export interface Picture {
  data: number[];
  width: number;
  height: number;
}

let given: Given;

const asked = new URLSearchParams(location.search);
watchGpu({ subgroups: asked.has('subgroups') });
if (asked.has('spoilt')) spoilAttention();

const bridge = {
  faults,
  copiesAreEqual,
  comesDown,
  openDecoder: (path: string) => openDecoder(new URL(path, location.href).href, { device: 'webgpu' }),
  runFixture: (path: string, device: string, passes: readonly number[]) =>
    runFixture(new URL(path, location.href).href, device, passes),
  stepCounts: (budget: number, tokens: number, policy: PolicyName) =>
    stepCounts(library, given, budget, tokens, policy),
  bytesAfter: (end: 'reset' | 'left', answers: number) => bytesAfter(library, given, end, answers),
  afterLoss: (prompts: readonly number[][]) => afterLoss(library, 'llava-scenes', prompts),
  library,
  env,
  async load(id: string, pictures: readonly Picture[], device = 'wasm'): Promise<void> {
    await given?.loaded.model.dispose();
    const loaded = (await library.loadElastic(id, { dtype: 'fp32', device })) as library.LoadedVisionModel;
    const images = pictures.map(
      ({ data, width, height }) => new RawImage(Uint8ClampedArray.from(data), width, height, 3),
    );
    given = { library, loaded, images };
  },
  given: () => given,
  notes: () => given.loaded.notes,
  play: (name: keyof typeof plays, script: Script): Promise<Told[]> => plays[name](given, script),
  /** The code and message of what a task throws. */
  async refusal(task: () => Promise<unknown>): Promise<string> {
    return task().then(
      () => 'nothing was thrown',
      (error: library.ElasticCacheError) => `${error.code}: ${error.message}`,
    );
  },
};

declare global {
  interface Window {
    bridge: typeof bridge;
  }
}
window.bridge = bridge;
