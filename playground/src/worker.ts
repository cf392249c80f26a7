import { env, type ProgressInfo, RawImage } from '@huggingface/transformers';
import {
  type Chat,
  chat,
  ElasticCache,
  type KVCache,
  type LoadedModel,
  type LoadedVisionModel,
  loadElastic,
  type PolicyName,
  readImage,
} from '../../src/browser.js';
import { EMBEDDED } from './embedded.js';
import { nameOf } from './gpu-name.js';
import { keptOf, type Shown, shownImage } from './kept.js';
import type { Command, Device, Held, Opening, Report, RunningOn, Settings, Side } from './messages.js';

/** The model and its two conversations, out of the way of the page. */

/** Pixels a side, and tokens of an answer that nobody sees. */
const WARM_SIZE = 336;
const WARM_TOKENS = 32;

const tell = (report: Report) => postMessage(report);

interface Conversation {
  readonly settings: Settings;
  readonly sides: Record<Side, Chat>;
  readonly images: Shown[];
}

let loaded: LoadedModel | undefined;
let conversation: Conversation | undefined;
let ends = new AbortController();
/** Commands are done one after the other. */
let last: Promise<void> = Promise.resolve();

addEventListener('message', ({ data }: MessageEvent<Command>) => {
  if (data.type === 'stop') {
    ends.abort();
    return;
  }
  last = last.then(() => obey(data));
});

async function obey(command: Exclude<Command, { type: 'stop' }>): Promise<void> {
  try {
    if (command.type === 'open') await open(command);
    else if (command.type === 'ask') await ask(command);
    else conversation = undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    tell({ type: 'failed', while: command.type === 'open' ? 'opening' : 'answering', message });
  }
}

async function open({ id, dtype, device, base }: Opening): Promise<void> {
  const embedded = id === EMBEDDED;
  // The embedded model lies beside the page; every other is fetched from the Hub and kept by the browser.
  Object.assign(env, {
    allowLocalModels: embedded,
    allowRemoteModels: !embedded,
    // A path: transformers.js takes an address for one of the Hub.
    localModelPath: `${new URL(base).pathname}models/`,
    useBrowserCache: !embedded,
    // The page has ONNX Runtime's files itself.
    useWasmCache: false,
  });
  const name = `${base}ort/ort-wasm-simd-threaded${device === 'webgpu' ? '.asyncify' : ''}`;
  env.backends.onnx.wasm!.wasmPaths = { mjs: `${name}.mjs`, wasm: `${name}.wasm` };
  conversation = undefined;
  await loaded?.model.dispose();
  loaded = undefined;
  const start = performance.now();
  loaded = await loadElastic(id, {
    device,
    ...(dtype === undefined ? {} : { dtype: dtype as 'q4' }),
    progress_callback: (event: ProgressInfo) => {
      if (event.status === 'progress_total')
        tell({ type: 'progress', loaded: event.loaded, total: event.total });
    },
  });
  tell({
    type: 'opened',
    readsImages: loaded.processor !== undefined,
    on: await runningOn(device),
    layers: layersOf(loaded),
    loadMs: performance.now() - start,
    notes: loaded.notes,
  });
  if (embedded) await warm(loaded);
}

async function runningOn(device: Device): Promise<RunningOn> {
  const { wasm, webgpu } = env.backends.onnx;
  const gpu = device === 'webgpu' ? ((await webgpu!.device) as GPUDevice).adapterInfo : undefined;
  const threads = crossOriginIsolated ? (wasm!.numThreads ?? 1) : 1;
  return { device, threads, gpu: gpu && nameOf(gpu) };
}

/** A browser compiles WebAssembly and JavaScript better the more they have run: without it, whichever side answers first would seem the slower one. */
async function warm(model: LoadedModel): Promise<void> {
  const white = new RawImage(new Uint8ClampedArray(3 * WARM_SIZE ** 2).fill(255), WARM_SIZE, WARM_SIZE, 3);
  const caches = [new ElasticCache(), new ElasticCache({ policy: 'full', budget: 1 })];
  for (const cache of caches) {
    const question = { prompt: 'Describe the image in detail.', images: [white], maxNewTokens: WARM_TOKENS };
    for await (const _ of chat(model, { cache }).ask(question));
  }
}

function layersOf({ model }: LoadedModel): number {
  const { text_config, num_hidden_layers } = Object(model.config) as Record<string, number> & {
    text_config?: { num_hidden_layers?: number };
  };
  return text_config?.num_hidden_layers ?? num_hidden_layers ?? 0;
}

/** The answer of a part of the cache, then that of the whole: one after the other, so that each is timed alone. */
async function ask({
  prompt,
  image: blob,
  newTokens,
  settings,
}: Extract<Command, { type: 'ask' }>): Promise<void> {
  if (!loaded) throw new Error('No model is loaded yet.');
  ends = new AbortController();
  const image = blob && (await readImage(blob));
  const goesOn = conversation !== undefined && isSame(conversation.settings, settings);
  conversation = goesOn ? conversation! : begin(loaded, settings);
  const { sides, images } = conversation;
  const question = {
    prompt,
    images: image ? [image] : [],
    maxNewTokens: newTokens,
    temperature: 0,
    signal: ends.signal,
  };
  await answer('part', sides.part, question);
  if (image) images.push(await shownImage(loaded as LoadedVisionModel, image, sides.part, images));
  tell({ type: 'kept', images: keptOf(sides.part.cache, images) });
  const isHeardByBoth = !ends.signal.aborted;
  if (isHeardByBoth) await answer('whole', sides.whole, question);
  else conversation = undefined;
  tell({ type: 'done', goesOn: isHeardByBoth });
}

function isSame(one: Settings, other: Settings): boolean {
  return one.policy === other.policy && one.budget === other.budget;
}

function begin(model: LoadedModel, settings: Settings): Conversation {
  const { policy, budget } = settings;
  return {
    settings,
    images: [],
    sides: {
      part: chat(model, { cache: new ElasticCache({ policy: policy as PolicyName, budget }) }),
      whole: chat(model, { cache: new ElasticCache({ policy: 'full', budget: 1 }) }),
    },
  };
}

async function answer(side: Side, talk: Chat, question: Parameters<Chat['ask']>[0]): Promise<void> {
  tell({ type: 'reading', side });
  let pieces = 0;
  let first = 0;
  let usage: { prefillMs: number | null; msPerToken: number | null; newTokens: number } | undefined;
  for await (const event of talk.ask(question)) {
    if (event.type === 'text') {
      const now = performance.now();
      if (pieces++ === 0) first = now;
      const perSecond = pieces > 2 ? ((pieces - 1) * 1000) / (now - first) : undefined;
      tell({ type: 'text', side, text: event.text, held: heldBy(talk.cache), perSecond });
    } else if (event.type === 'usage') usage = event.usage;
    else {
      const { prefillMs, msPerToken, newTokens } = usage!;
      const held = heldBy(talk.cache);
      tell({ type: 'answered', side, held, prefillMs, msPerToken, tokens: newTokens, reason: event.reason });
    }
  }
}

function heldBy(cache: KVCache): Held {
  const { bytesHeld, bytesFull, tokensHeld, tokensSeen } = cache.stats();
  return { bytes: bytesHeld, bytesWhole: bytesFull, entries: tokensHeld, tokens: tokensSeen };
}
