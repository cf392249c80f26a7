/**
 * Load on a server: clients that ask as soon as they are answered, images or none, short answers and long, at the same memory for caches and several budgets.
 *
 *     npm run build && npx tsx bench/server.ts [--seconds 60] [--clients 64] [--memory 24mb] [--lanes 64] [--budgets 1,0.2] [--model ...]
 *
 * Each budget has a server of its own, on this machine, one after the other. TTFT is from the request to the first piece of text, waiting included; TPOT the mean time between pieces of one
 * answer. Running is what `/status.json` says ten times a second; resident memory that of the process that the model runs in, at its highest.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { embeddedImage } from '../src/models/embedded.js';
import { Random } from '../src/random.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    clients: { type: 'string', default: '64' },
    memory: { type: 'string', default: '24mb' },
    lanes: { type: 'string', default: '64' },
    budgets: { type: 'string', default: '1,0.2' },
    model: { type: 'string' },
  },
});
const [seconds, clients] = [Number(values.seconds), Number(values.clients)];
/** Tokens of answers. */
const LENGTHS = [16, 64, 200];
const QUESTIONS = ['Describe the image in detail.', 'How many objects are there?', 'What is printed?'];
const images = await Promise.all(
  Array.from({ length: 10 }, async (_, scene) =>
    (await readFile(embeddedImage(scene + 1))).toString('base64'),
  ),
);

interface Sample {
  ttft: number;
  tpot: number;
  pieces: number;
}

async function serve(budget: string): Promise<{ url: string; child: ChildProcess }> {
  const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  const own = ['--budget', budget, '--memory', values.memory, '--lanes', values.lanes];
  const bounds = [
    '--waiting',
    values.clients,
    '--waiting-seconds',
    '3600',
    '--deadline',
    '3600',
    '--park',
    '0',
    '--port',
    '0',
  ];
  const model = values.model === undefined ? [] : ['--model', values.model];
  const child = spawn(process.execPath, [main, 'serve', ...own, ...bounds, ...model]);
  const url = await new Promise<string>((resolve, reject) => {
    let said = '';
    child.stderr.on('data', (data) => {
      said = (said + data).slice(-10_000);
      const found = /answers at (http:\S+)\/v1/.exec(said)?.[1];
      if (found) resolve(found);
    });
    child.once('exit', () => reject(new Error(said)));
  });
  return { url, child };
}

async function ask(url: string, random: Random): Promise<Sample | string> {
  const text = { type: 'text', text: random.pick(QUESTIONS) };
  const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${random.pick(images)}` } };
  const content = random.chance(0.75) ? [image, text] : [text];
  const body = JSON.stringify({
    messages: [{ role: 'user', content }],
    max_tokens: random.pick(LENGTHS),
    stream: true,
  });
  const start = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  if (!response.ok) return ((await response.json()) as { error: { code: string } }).error.code;
  let first = 0;
  let last = 0;
  let pieces = 0;
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    const found = part.match(/"delta":{"content":"[^"]/g)?.length ?? 0;
    if (found === 0) continue;
    last = performance.now();
    first ||= last;
    pieces += found;
  }
  return { ttft: first - start, tpot: pieces > 1 ? (last - first) / (pieces - 1) : Number.NaN, pieces };
}

function quantiles(samples: number[]): string {
  const sorted = samples.filter(Number.isFinite).sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return [0.5, 0.95, 0.99].map((share) => at(share).toFixed(at(share) < 100 ? 1 : 0)).join(' / ');
}

/** Megabytes of the largest process that another has made. */
function residentOf(parent: number): number {
  const lines = execFileSync('ps', ['-A', '-o', 'ppid=,rss='], { encoding: 'utf8' }).trim().split('\n');
  const sizes = lines.map((line) => line.trim().split(/\s+/).map(Number)).filter(([of]) => of === parent);
  return Math.max(0, ...sizes.map(([, size]) => size! / 1000));
}

process.stdout.write(
  `${clients} clients, ${seconds} s each, ${values.memory} for caches, ${values.lanes} lanes, ${cpus().length} cores (${cpus()[0]?.model.trim()})\n\n`,
);
process.stdout.write(
  '| budget | requests/s | tokens/s | running, mean (most) | TTFT ms p50 / p95 / p99 | TPOT ms p50 / p95 / p99 | resident MB | refused |\n',
);
process.stdout.write('| --- | --- | --- | --- | --- | --- | --- | --- |\n');
for (const budget of values.budgets.split(',')) {
  const { url, child } = await serve(budget);
  const samples: Sample[] = [];
  const refused = new Map<string, number>();
  const running: number[] = [];
  let resident = 0;
  await ask(url, new Random(0));
  const end = performance.now() + seconds * 1000;
  const looking = setInterval(async () => {
    const status = (await (await fetch(`${url}/status.json`)).json()) as { running: number };
    running.push(status.running);
    if (running.length % 10 === 1) resident = Math.max(resident, residentOf(child.pid!));
  }, 100);
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const random = new Random(client + 1);
      while (performance.now() < end) {
        const sample = await ask(url, random);
        if (typeof sample === 'string') refused.set(sample, (refused.get(sample) ?? 0) + 1);
        // What ends after the time is up is no part of it.
        else if (performance.now() < end) samples.push(sample);
      }
    }),
  );
  clearInterval(looking);
  const tokens = samples.reduce((sum, { pieces }) => sum + pieces, 0);
  const mean = running.reduce((sum, each) => sum + each, 0) / running.length;
  const cells = [
    budget,
    (samples.length / seconds).toFixed(2),
    (tokens / seconds).toFixed(1),
    `${mean.toFixed(1)} (${Math.max(...running)})`,
    quantiles(samples.map(({ ttft }) => ttft)),
    quantiles(samples.map(({ tpot }) => tpot)),
    resident.toFixed(0),
    [...refused].map(([code, count]) => `${code} ${count}`).join(', ') || 'none',
  ];
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}
