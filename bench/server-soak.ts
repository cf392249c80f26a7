/**
 * A server for a long time under faults: workers that are killed, a disk that is full, broken images, half requests, connections that are reset, clients that leave.
 *
 *     npm run build && npx tsx bench/server-soak.ts [--minutes 60] [--clients 8] [--fault-seconds 5]
 *
 * Every whole answer is held against the one that the same request got when nothing else ran; every other request must end in an error that says what happened. At the end a table of what came of
 * requests and faults, and resident memory over time; the last line is JSON. Exits with 1 when an answer differs, a request gets an error of the server's own or none in two minutes, or memory
 * grows by a fifth from the second quarter to the last.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Random } from '../src/random.js';
import { ask, bodyOf, childrenOf, serve } from './served.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    clients: { type: 'string', default: '8' },
    'fault-seconds': { type: 'string', default: '5' },
  },
});
const end = performance.now() + Number(values.minutes) * 60_000;
const KINDS = 12;
const MOST_WAIT = 120_000;
/** Bytes of a file on the disk that is full: a conversation needs more. */
const FULL = 4096;
/** What requests may end in that nothing is wrong with: the server says what happened. */
const TOLD = ['worker_died', 'overloaded', 'waited_too_long'];

const folder = await mkdtemp(join(tmpdir(), 'server-soak-'));
const { url, child, logged, stop } = await serve(
  ['--lanes', '4', '--waiting', '16', '--park', '2mb', '--park-dir', folder, '--budget', '0.2'],
  FULL,
);
const bodies = Array.from({ length: KINDS }, (_, kind) => bodyOf(new Random(kind), [8, 24, 60]));
const known: string[] = [];
for (const body of bodies) {
  const answer = await ask(url, body);
  if (typeof answer === 'string') throw new Error(`alone, a request ended in ${answer}`);
  known.push(answer.text);
}

const outcomes: Record<string, number> = {};
const faults: Record<string, number> = {};
const wrong: string[] = [];
const count = (table: Record<string, number>, name: string) => {
  table[name] = (table[name] ?? 0) + 1;
};

async function client(seed: number): Promise<void> {
  const random = new Random(seed, 1);
  while (performance.now() < end) {
    const kind = random.int(0, KINDS - 1);
    const late = AbortSignal.timeout(MOST_WAIT);
    const leaves = random.chance(0.1) ? AbortSignal.timeout(random.int(10, 2000)) : undefined;
    try {
      const answer = await ask(url, bodies[kind]!, leaves ? AbortSignal.any([late, leaves]) : late);
      if (typeof answer === 'string') {
        count(outcomes, answer);
        if (!TOLD.includes(answer)) wrong.push(`a good request ended in ${answer}`);
        await sleep(200);
      } else if (answer.text === known[kind]) count(outcomes, 'whole');
      else {
        count(outcomes, 'different');
        wrong.push(`${JSON.stringify(answer.text)} instead of ${JSON.stringify(known[kind])}`);
      }
    } catch (cause) {
      if (leaves?.aborted) count(outcomes, 'left');
      else {
        count(outcomes, 'no answer');
        wrong.push(`no answer: ${cause}`);
      }
    }
  }
}

/** Sends bytes, and then resets the connection, or leaves it as it is for a while. */
function raw(text: string, after: number, reset: boolean): Promise<void> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(text);
      setTimeout(() => {
        if (reset) socket.resetAndDestroy();
        else socket.destroy();
        resolve();
      }, after);
    });
    socket.on('error', () => resolve());
    socket.resume();
  });
}

const request = (body: string, length = body.length) =>
  `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`;
const brokenImage = JSON.stringify({
  messages: [
    {
      role: 'user',
      content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } }],
    },
  ],
});
const FAULTS: Record<string, (random: Random) => Promise<void>> = {
  async 'worker killed'() {
    // The largest is the one that the model runs in.
    const [worker] = childrenOf(child.pid!);
    if (worker) process.kill(worker.pid, 'SIGKILL');
  },
  async 'broken image'() {
    const answer = await ask(url, brokenImage);
    if (answer !== 'invalid_image' && !TOLD.includes(String(answer)))
      wrong.push(`a broken image ended in ${answer}`);
  },
  'half a request': (random) =>
    raw(request(bodies[0]!.slice(0, 5000), bodies[0]!.length), random.int(0, 1000), false),
  'half a head': () => raw('POST /v1/chat/completions HTTP/1.1\r\nHost: 127', 500, false),
  'reset within an answer': (random) => raw(request(bodies[1]!), random.int(100, 3000), true),
  'no HTTP': () => raw('\x16\x03\x01\x02\x00\x01\x00\x01\xfc', 100, true),
};

async function faulty(): Promise<void> {
  const random = new Random(7, 2);
  while (performance.now() < end) {
    await sleep(1000 * Number(values['fault-seconds']));
    const name = random.pick(Object.keys(FAULTS));
    count(faults, name);
    await FAULTS[name]!(random);
  }
}

const memory: { seconds: number; server: number; all: number }[] = [];
const start = performance.now();
const looking = setInterval(
  () => {
    const own = childrenOf(process.pid).find(({ pid }) => pid === child.pid)?.megabytes ?? 0;
    const others = childrenOf(child.pid!).reduce((sum, { megabytes }) => sum + megabytes, 0);
    memory.push({ seconds: Math.round((performance.now() - start) / 1000), server: own, all: own + others });
  },
  Math.max(1000, Number(values.minutes) * 500),
);
await Promise.all([faulty(), ...Array.from({ length: Number(values.clients) }, (_, seed) => client(seed))]);
clearInterval(looking);
await sleep(1000);
const status = (await (await fetch(`${url}/status.json`)).json()) as Record<string, number>;
if (status.running !== 0 || status.waiting !== 0)
  wrong.push(`${status.running} run and ${status.waiting} wait at the end`);
await stop();
faults['conversations that a full disk did not take'] = logged('could not be written to parkDir');
await rm(folder, { recursive: true });

const mean = (list: typeof memory) => list.reduce((sum, { server }) => sum + server, 0) / list.length;
const quarter = Math.floor(memory.length / 4);
const growth = mean(memory.slice(-quarter)) / mean(memory.slice(quarter, 2 * quarter));
if (Number(values.minutes) >= 20 && growth > 1.2)
  wrong.push(`resident memory of the server grew ${growth.toFixed(2)} times`);
const write = (text: string) => process.stdout.write(`${text}\n`);
const table = (title: string, rows: Record<string, number | string>) =>
  write(
    `| ${title} | |\n| --- | --- |\n${Object.entries(rows)
      .map(([name, each]) => `| ${name} | ${each} |`)
      .join('\n')}\n`,
  );
table('requests', outcomes);
table('faults', faults);
const shown = memory.filter((_, at) => at % Math.max(1, quarter) === 0);
table(
  'MB of the server / of all its processes',
  Object.fromEntries(
    shown.map(({ seconds, server, all }) => [
      `after ${seconds} s`,
      `${server.toFixed(0)} / ${all.toFixed(0)}`,
    ]),
  ),
);
for (const each of wrong.slice(0, 20)) write(`wrong: ${each}`);
write(
  JSON.stringify({ minutes: Number(values.minutes), outcomes, faults, growth, wrong: wrong.length, memory }),
);
process.exitCode = wrong.length > 0 ? 1 : 0;
