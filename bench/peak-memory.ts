/**
 * The most memory that is resident while a prompt is read and answered, each contender in a process of its own. Run:
 *
 *   npx tsx bench/peak-memory.ts [--prompt 1024] [--answer 64] [--weights int4|int8]
 *
 * Four layers of LLaVA-1.5-7B's shape with random weights. What a process holds before its first token is read (weights, mostly) is taken off: the rest is the cache and
 * what a pass needs beside it. A table; the last line is JSON.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { InferenceSession, Tensor } from '#platform/ort.js';
import { ElasticCache } from '../src/elastic-cache.js';
import { openDecoder } from '../src/runtime/open-decoder.js';
import { randomNumbers, SHAPE, type Weights, writeFourLayers } from './generation/four-layers.js';

const { values } = parseArgs({
  options: {
    prompt: { type: 'string', default: '1024' },
    answer: { type: 'string', default: '64' },
    weights: { type: 'string', default: 'int4' },
    /** What a child process runs, and on which file. */
    contender: { type: 'string' },
    path: { type: 'string' },
  },
});
const [prompt, answer] = [Number(values.prompt), Number(values.answer)];
const { layers, hidden, kvHeads, headDim } = SHAPE;
const int64 = (length: number, of: (index: number) => number) =>
  new Tensor(
    'int64',
    BigInt64Array.from({ length }, (_, index) => BigInt(of(index))),
    [1, length],
  );
const embeds = (tokens: number) => new Tensor('float32', randomNumbers(tokens * hidden), [1, tokens, hidden]);

/** Runs `tokens` new tokens. */
type Run = (tokens: number) => Promise<unknown>;

async function ours(path: string, policy: 'full' | 'elastic-plus', peak: 'prompt' | 'bounded'): Promise<Run> {
  const decoder = await openDecoder(path, { peak, chunk: 256 });
  const cache = new ElasticCache({ policy, budget: policy === 'full' ? 1 : 0.2 });
  cache.bind({ ...decoder.shape, batch: 1 }, decoder.windows);
  return (tokens) => {
    const { seen } = cache;
    const positionIds = int64(tokens, (index) => seen + index);
    return decoder.run(cache, { newTokens: embeds(tokens), positionIds, logits: 'last' });
  };
}

/** The unmodified decoder, each `present` fed back. */
async function transformersJs(path: string): Promise<Run> {
  const session = await InferenceSession.create(path);
  const parts = Array.from({ length: layers }, (_, i) => [`${i}.key`, `${i}.value`]).flat();
  const none = () => new Tensor('float32', new Float32Array(0), [1, kvHeads, 0, headDim]);
  const past = Object.fromEntries(parts.map((part) => [`past_key_values.${part}`, none()]));
  let seen = 0;
  return async (tokens) => {
    const end = seen + tokens;
    const outputs = await session.run({
      ...past,
      inputs_embeds: embeds(tokens),
      attention_mask: int64(end, () => 1),
      position_ids: int64(tokens, (index) => seen + index),
      num_logits_to_keep: new Tensor('int64', [1n], []),
    });
    for (const part of parts) past[`past_key_values.${part}`] = outputs[`present.${part}`] as Tensor;
    seen = end;
  };
}

const CONTENDERS: Record<string, (path: string) => Promise<Run>> = {
  'transformers.js': transformersJs,
  'elastic-cache, full': (path) => ours(path, 'full', 'prompt'),
  'elastic-cache, budget 0.2': (path) => ours(path, 'elastic-plus', 'prompt'),
  'elastic-cache, budget 0.2, bounded': (path) => ours(path, 'elastic-plus', 'bounded'),
};

/** Linux tells a process's largest resident memory, and lets it be set back. */
const megabytesOf = (name: 'VmHWM' | 'VmRSS') =>
  Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1e3;

if (values.contender !== undefined) {
  const run = await CONTENDERS[values.contender]!(values.path!);
  // The arena and the weights that are read are there after a token.
  const before = megabytesOf('VmRSS');
  await run(prompt);
  for (let token = 0; token < answer; token++) await run(1);
  console.log(JSON.stringify({ before, peak: megabytesOf('VmHWM') }));
  process.exit(0);
}

const weights: Weights = values.weights === 'int8' ? { kind: 'int8' } : { kind: 'int4', blockSize: 32 };
console.error(`writing four layers of random ${weights.kind} weights`);
const { path, remove } = await writeFourLayers(weights);
try {
  const table = new Table({ head: ['', 'peak MB', 'beside what was there before'] });
  const results = Object.keys(CONTENDERS).map((name) => {
    const file = fileURLToPath(import.meta.url);
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [
        ...process.execArgv,
        file,
        '--contender',
        name,
        '--path',
        path,
        '--prompt',
        values.prompt,
        '--answer',
        values.answer,
      ],
      { encoding: 'utf8' },
    );
    const line = stdout.trim().split('\n').at(-1);
    if (!line) throw new Error(stderr);
    const { before, peak } = JSON.parse(line) as { before: number; peak: number };
    table.push([name, peak.toFixed(0), (peak - before).toFixed(0)]);
    return { name, before, peak };
  });
  console.log(table.toString());
  console.log(JSON.stringify({ benchmark: 'peak-memory', prompt, answer, weights, results }));
} finally {
  await remove();
}
