/**
 * An engine in a worker under random arrivals, lengths, policies, budgets, images, aborts and faults: requests that are refused, broken images, workers that are killed. Run after
 * npm run build: npx tsx bench/engine-soak.ts [minutes, 20 unless told]
 *
 * A tiny LLaVA with random weights, so that there are many requests a second. Every answer is held against the one that the same request gets alone, from `chat()` on the same
 * model in this thread; an aborted one must be how that begins. At the end: what came of the requests, and resident memory over time, of this process and of the worker (as `ps` has
 * it). Last line: JSON. Exits with 1 when an answer differs, a request is lost, or memory grows.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeProcess } from '../src/engine/worker/node-process.js';
import type { WorkerPort } from '../src/engine/worker/protocol.js';
import { RemoteEngine } from '../src/engine/worker/remote-engine.js';
import { type EngineRequest, loadElastic } from '../src/index.js';
import { alone, heard, words } from '../test/engine/tiny-engine.js';
import { picture } from '../test/picture.js';
import { writeTinyLlava } from '../test/runtime/tiny-llava.js';

const minutes = Number(process.argv[2] ?? 20);
const CLIENTS = 12;
const LANES = 6;
const SECONDS_PER_KILL = 45;
const SECONDS_PER_SAMPLE = 10;
/** Requests are drawn from so many, so that what each gets alone is known soon. */
const KINDS = 400;

let state = 20_261_126;
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
const between = (least: number, most: number) => least + Math.floor(random() * (most - least + 1));
const oneOf = <T>(values: readonly T[]): T => values[between(0, values.length - 1)]!;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const directory = await mkdtemp(join(tmpdir(), 'engine-soak-'));
await writeTinyLlava(directory);
const loaded = await loadElastic(directory, { chunk: 32 });

const requests = Array.from({ length: KINDS }, (_, seed): EngineRequest => {
  const images = random() < 0.4 ? [picture(seed)] : [];
  return {
    messages: [{ role: 'user', content: words(between(1, 200), seed), images }],
    policy: oneOf(['snapkv', 'elastic', 'elastic-plus', 'h2o', 'pyramidkv', 'local', 'full']),
    budget: oneOf([0.1, 0.2, 0.5, 1, { tokens: 40 }]),
    maxNewTokens: between(1, 120),
    temperature: oneOf([0, 0.7, 1.3]),
    topP: oneOf([1, 0.9]),
    presencePenalty: oneOf([0, 0.5]),
    seed,
  };
});
const known = new Map<number, string>();
async function aloneText(kind: number): Promise<string> {
  const text = known.get(kind) ?? (await alone(loaded, requests[kind]!));
  known.set(kind, text);
  return text;
}

let worker: WorkerPort | undefined;
const spawn = nodeProcess(new URL('../test/engine/dying-worker.mjs', import.meta.url));
const engine = await RemoteEngine.open(
  () => {
    worker = spawn();
    return worker;
  },
  {
    model: directory,
    load: { chunk: 32 },
    options: { lanes: LANES, memory: 1.5e6, park: 1e6 },
  },
);

const came = { whole: 0, aborted: 0, refused: 0, died: 0 };
const wrong: string[] = [];
function note(fault: string): void {
  wrong.push(fault);
  console.error(fault);
}
const end = performance.now() + minutes * 60_000;
let asked = 0;

async function client(): Promise<void> {
  while (performance.now() < end) {
    await pause(random() < 0.3 ? between(0, 300) : 0);
    const kind = between(0, KINDS - 1);
    const fault = random();
    const request = requests[kind]!;
    const abort = new AbortController();
    const abortAt = random() < 0.2 ? between(0, 30) : undefined;
    if (abortAt === 0) abort.abort();
    asked++;
    // What can never run, or is broken, is refused without harm to others.
    const broken: Partial<EngineRequest> =
      fault < 0.02
        ? { messages: [{ role: 'user', content: words(600, kind) }], budget: 1, maxNewTokens: 2000 }
        : fault < 0.04
          ? { messages: [{ role: 'user', content: 'w1', images: [new Uint8Array([1, 2, 3])] }] }
          : fault < 0.05
            ? { temperature: -1 }
            : {};
    let texts = 0;
    const answer = await heard(
      engine.add({ ...request, ...broken, priority: between(0, 2), signal: abort.signal }),
      ({ type }) => {
        if (type === 'text' && ++texts === abortAt) abort.abort();
      },
    );
    if (Object.keys(broken).length > 0) {
      if (answer.error || abort.signal.aborted) came.refused++;
      else note(`a broken request of kind ${kind} was answered: ${answer.reason}`);
    } else if (answer.error) {
      if (answer.error.code === 'worker-died') came.died++;
      else note(`kind ${kind}: ${answer.error}`);
    } else {
      const expected = await aloneText(kind);
      const isAborted = answer.reason === 'aborted';
      if (isAborted) came.aborted++;
      else came.whole++;
      const equal = isAborted
        ? abort.signal.aborted && expected.startsWith(answer.text)
        : expected === answer.text;
      if (!equal)
        wrong.push(`kind ${kind}: ${JSON.stringify(answer.text)} is not ${JSON.stringify(expected)}`);
    }
  }
}

const samples: { minute: number; megabytes: number; worker: number; answered: number }[] = [];
let kills = 0;

/** Resident memory of the child processes of this one. */
function workerMegabytes(): number {
  const { stdout } = spawnSync('ps', ['-o', 'rss=,comm=', '--ppid', String(process.pid)], {
    encoding: 'utf8',
  });
  const nodes = stdout.split('\n').filter((line) => !line.includes('ps'));
  return Math.round(nodes.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[0] || 0), 0) / 1e3);
}

async function watch(): Promise<void> {
  for (let second = 0; performance.now() < end; second++) {
    if (second % SECONDS_PER_SAMPLE === 0) {
      const minute = Number((minutes - (end - performance.now()) / 60_000).toFixed(2));
      const megabytes = Math.round(process.memoryUsage.rss() / 1e6);
      samples.push({ minute, megabytes, worker: workerMegabytes(), answered: came.whole });
      console.error(JSON.stringify({ ...samples.at(-1), ...came, ...engine.stats, wrong: wrong.length }));
    }
    if (second % SECONDS_PER_KILL === SECONDS_PER_KILL - 1) {
      kills++;
      worker?.send({ type: 'die' } as never);
    }
    await pause(1000);
  }
}

await Promise.all([watch(), ...Array.from({ length: CLIENTS }, client)]);
const stats = engine.stats;
await engine.close();
await loaded.model.dispose();
await rm(directory, { recursive: true });

/** Least squares over the second half, in megabytes a minute: what the first tasks need is not growth. */
const half = samples.slice(Math.floor(samples.length / 2));
const mean = (of: (sample: (typeof half)[number]) => number) =>
  half.reduce((sum, each) => sum + of(each), 0) / half.length;
const [time, size] = [mean(({ minute }) => minute), mean(({ megabytes }) => megabytes)];
const slope =
  half.reduce((sum, { minute, megabytes }) => sum + (minute - time) * (megabytes - size), 0) /
  half.reduce((sum, { minute }) => sum + (minute - time) ** 2, 0);
const told = came.whole + came.aborted + came.refused + came.died;
const result = {
  benchmark: 'engine-soak',
  minutes,
  asked,
  told,
  ...came,
  kills,
  different: wrong.length,
  megabytes: [samples[0]?.megabytes, samples.at(-1)?.megabytes],
  megabytesPerMinute: Number(slope.toFixed(2)),
  // Workers are killed and begin anew, so the most of each half is what tells.
  workerMegabytes: [samples.slice(0, samples.length >> 1), half].map((part) =>
    Math.max(...part.map(({ worker }) => worker)),
  ),
  left: stats,
};
console.log(JSON.stringify(result));
const isLost = told !== asked || stats.running + stats.waiting > 0;
process.exitCode = wrong.length > 0 || isLost || slope > 2 ? 1 : 0;
