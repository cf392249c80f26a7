/**
 * Load on a server: clients that ask as soon as they are answered, images or none, short answers and long, at the same memory for caches and several budgets.
 *
 *     npm run build && npx tsx bench/server.ts [--seconds 60] [--clients 64] [--memory 24mb] [--lanes 64] [--budgets 1,0.2] [--model ...] [--price 0.10]
 *
 * Each budget has a server of its own, on this machine, one after the other. TTFT is from the request to the first piece of text, waiting included; TPOT the mean time between tokens of one
 * answer. Running is what `/status.json` says ten times a second; resident memory that of the process that the model runs in, at its highest. With the price of an hour of such a machine, in
 * whatever currency, what a million tokens of answers cost, the reading of their prompts included. The last line is JSON.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { Random } from '../src/random.js';
import { type Answer, ask, bodyOf, childrenOf, serve } from './served.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    clients: { type: 'string', default: '64' },
    memory: { type: 'string', default: '24mb' },
    lanes: { type: 'string', default: '64' },
    budgets: { type: 'string', default: '1,0.2' },
    model: { type: 'string' },
    price: { type: 'string' },
  },
});
const [seconds, clients] = [Number(values.seconds), Number(values.clients)];
const price = values.price === undefined ? undefined : Number(values.price);
/** Tokens of answers. */
const LENGTHS = [16, 64, 200];

/** p50, p95 and p99. */
function quantiles(samples: readonly number[]): number[] {
  const sorted = samples.filter(Number.isFinite).sort((a, b) => a - b);
  return [0.5, 0.95, 0.99].map(
    (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0,
  );
}

async function measured(budget: string) {
  const { url, child, stop } = await serve([
    ...['--budget', budget, '--memory', values.memory, '--lanes', values.lanes, '--park', '0'],
    ...['--waiting', values.clients, '--waiting-seconds', '3600', '--deadline', '3600'],
    ...(values.model === undefined ? [] : ['--model', values.model]),
  ]);
  const answers: Answer[] = [];
  const refused: Record<string, number> = {};
  const running: number[] = [];
  let resident = 0;
  await ask(url, bodyOf(new Random(0), LENGTHS));
  const end = performance.now() + seconds * 1000;
  const looking = setInterval(async () => {
    const status = (await (await fetch(`${url}/status.json`)).json()) as { running: number };
    running.push(status.running);
    if (running.length % 10 === 1) resident = Math.max(resident, childrenOf(child.pid!)[0]?.megabytes ?? 0);
  }, 100);
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const random = new Random(client + 1);
      while (performance.now() < end) {
        const answer = await ask(url, bodyOf(random, LENGTHS));
        if (typeof answer === 'string') refused[answer] = (refused[answer] ?? 0) + 1;
        // What ends after the time is up is no part of it.
        else if (performance.now() < end) answers.push(answer);
      }
    }),
  );
  clearInterval(looking);
  await stop();
  const perSecond = answers.reduce((sum, { tokens }) => sum + tokens, 0) / seconds;
  return {
    budget,
    requestsPerSecond: answers.length / seconds,
    tokensPerSecond: perSecond,
    running: running.reduce((sum, each) => sum + each, 0) / running.length,
    mostRunning: Math.max(...running),
    ttft: quantiles(answers.map(({ ttft }) => ttft)),
    tpot: quantiles(answers.map(({ tpot }) => tpot)),
    resident,
    refused,
    costPerMillion: price === undefined ? undefined : (price / 3600 / perSecond) * 1e6,
  };
}

const write = (text: string) => process.stdout.write(`${text}\n`);
const short = (number: number) => number.toFixed(number < 100 ? 1 : 0);
write(
  `${clients} clients, ${seconds} s each, ${values.memory} for caches, ${values.lanes} lanes, ${cpus().length} cores (${cpus()[0]?.model.trim()})\n`,
);
const columns = [
  ...['budget', 'requests/s', 'tokens/s', 'running, mean (most)', 'TTFT ms p50 / p95 / p99'],
  ...[
    'TPOT ms p50 / p95 / p99',
    'resident MB',
    'refused',
    ...(price === undefined ? [] : ['a million tokens']),
  ],
];
write(`| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}`);
const rows: Awaited<ReturnType<typeof measured>>[] = [];
for (const budget of values.budgets.split(',')) {
  const row = await measured(budget);
  rows.push(row);
  const cells = [
    ...[budget, row.requestsPerSecond.toFixed(2), row.tokensPerSecond.toFixed(1)],
    ...[`${row.running.toFixed(1)} (${row.mostRunning})`, row.ttft.map(short).join(' / ')],
    ...[row.tpot.map(short).join(' / '), row.resident.toFixed(0)],
    Object.entries(row.refused)
      .map(([code, count]) => `${code} ${count}`)
      .join(', ') || 'none',
    ...(row.costPerMillion === undefined ? [] : [row.costPerMillion.toFixed(2)]),
  ];
  write(`| ${cells.join(' | ')} |`);
}
write(`\n${JSON.stringify({ clients, seconds, memory: values.memory, lanes: values.lanes, price, rows })}`);
