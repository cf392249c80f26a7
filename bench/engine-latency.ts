/**
 * How long the event loop of who asks is held up while a batch of 8 runs in a worker. Run after npm run build: npx tsx bench/engine-latency.ts [seconds, 20 unless told]
 *
 * Eight requests at a time about the pictures that come with the package, on its model. The same measure on an idle process comes first: what the machine adds. Milliseconds late
 * that a timer fires, by perf_hooks' monitorEventLoopDelay at a resolution of 1 ms. Last line: JSON.
 */
import { loadavg } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { nodeProcess } from '../src/engine/worker/node-process.js';
import { RemoteEngine } from '../src/engine/worker/remote-engine.js';

const seconds = Number(process.argv[2] ?? 20);
const demo = fileURLToPath(new URL('../demo-model/', import.meta.url));
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds that timers were late while `task` ran. */
async function late(task: () => Promise<unknown>) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await task();
  delay.disable();
  const ms = (nanoseconds: number) => Number((nanoseconds / 1e6).toFixed(1));
  return { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), most: ms(delay.max) };
}

const engine = await RemoteEngine.open(
  nodeProcess(new URL('../dist/engine/worker/node-main.js', import.meta.url)),
  { model: `${demo}llava-scenes`, load: {}, options: { lanes: 8 } },
);
let tokens = 0;
async function client(index: number, end: number): Promise<void> {
  for (let scene = index; performance.now() < end; scene++) {
    const images = [`${demo}samples/${String((scene % 10) + 1).padStart(2, '0')}.png`];
    const messages = [{ role: 'user' as const, content: 'Describe the image in detail.', images }];
    for await (const event of engine.add({ messages, maxNewTokens: 200 })) {
      if (event.type === 'usage') tokens += event.usage.newTokens;
    }
  }
}
const idle = await late(() => pause(5000));
const end = performance.now() + seconds * 1000;
const running = await late(() => Promise.all(Array.from({ length: 8 }, (_, index) => client(index, end))));
await engine.close();
console.table({ idle, running });
console.log(
  JSON.stringify({ benchmark: 'engine-latency', seconds, tokens, idle, running, load: loadavg()[0] }),
);
