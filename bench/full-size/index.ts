/**
 * LLaVA-1.5-7B and Qwen-VL-Chat at their true size, without their weights: checkpoints of their shapes full of random numbers are written in float16, converted to int4,
 * loaded, and asked for 32 tokens after a prompt of 1,024, one picture among them, at budgets of 1 and 0.2. Every step runs in a process of its own. Run:
 *
 *   npx tsx bench/full-size/index.ts --directory DIR [--model llava-1.5-7b,qwen-vl-chat] [--share 1] [--prompt 1024] [--answer 32] [--block-size 128] [--keep]
 *
 * The checkpoint takes 13.5 GB (19.3), and is removed when it is converted; the model takes 4.6 GB (8.5), and is removed at the end; `--keep` keeps both. `--share 0.0625` takes a
 * sixteenth of the layers. Peak memory is what was resident, mapped weights included; `own` is what remains without these at the end. A table; the last line is JSON.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BaseStreamer, Tensor, type TextStreamer } from '@huggingface/transformers';
import Table from 'cli-table3';
import { convertCheckpoint } from '../../src/convert/index.js';
import { ElasticCache } from '../../src/elastic-cache.js';
import { loadElastic } from '../../src/models/load.js';
import { sizeName } from '../../src/size-name.js';
import { randomNumbers } from '../generation/four-layers.js';
import { type Checkpoint, llava7b, qwenVlChat, writeCheckpoint } from './checkpoints.js';

const MODELS: Readonly<Record<string, (share: number) => Checkpoint>> = {
  'llava-1.5-7b': llava7b,
  'qwen-vl-chat': qwenVlChat,
};
/** Notes when the first token and the last came. */
class Clock extends BaseStreamer {
  readonly times: number[] = [];
  override put(): void {
    this.times.push(performance.now());
  }
  override end(): void {}
}

const { values } = parseArgs({
  options: {
    directory: { type: 'string' },
    model: { type: 'string', default: Object.keys(MODELS).join() },
    share: { type: 'string', default: '1' },
    prompt: { type: 'string', default: '1024' },
    answer: { type: 'string', default: '32' },
    'block-size': { type: 'string', default: '128' },
    keep: { type: 'boolean', default: false },
    /** What a child process does. */
    step: { type: 'string' },
    budget: { type: 'string', default: '1' },
  },
});
if (values.directory === undefined)
  throw new Error('Give a directory with room for the checkpoint (--directory).');
const share = Number(values.share);

type Numbers = Record<string, number>;
const steps: Readonly<Record<string, (name: string) => Promise<Numbers>>> = { write, convert, generate };

if (values.step !== undefined) {
  const start = performance.now();
  const numbers = await steps[values.step]!(values.model);
  const seconds = (performance.now() - start) / 1000;
  process.stdout.write(
    `${JSON.stringify({ ...numbers, seconds, peak: process.resourceUsage().maxRSS * 1024, own: own() })}\n`,
  );
} else {
  const report = [];
  for (const name of values.model.split(',')) {
    if (!Object.hasOwn(MODELS, name))
      throw new Error(`${name} is none of ${Object.keys(MODELS).join(', ')}.`);
    report.push({ model: name, ...(await prove(name)) });
  }
  const table = new Table({ head: ['', 'took', 'peak memory', 'own', 'cache', 'per token'] });
  for (const { model, written, converted, generated } of report) {
    table.push([
      {
        colSpan: 6,
        content: `${model}: checkpoint ${sizeName(written.bytes!)}, largest tensor ${sizeName(written.largest!)} (${sizeName(2 * written.largest!)} in float32), converted ${sizeName(converted.bytes!)}`,
      },
    ]);
    const row = (step: string, { seconds, peak, own, cache, msPerToken }: Numbers) =>
      table.push([
        step,
        `${seconds!.toFixed(1)} s`,
        sizeName(peak!),
        sizeName(own!),
        cache ? sizeName(cache) : '',
        msPerToken ? `${msPerToken.toFixed(0)} ms` : '',
      ]);
    row('convert', converted);
    for (const each of generated) {
      row(`load, budget ${each.budget}`, { ...each, seconds: each.loadSeconds!, cache: 0, msPerToken: 0 });
      row(`${values.prompt} + ${values.answer} tokens`, { ...each, seconds: each.answerSeconds! });
    }
  }
  process.stdout.write(`${table}\n${JSON.stringify({ share, report })}\n`);
}

/** All steps of one model. */
async function prove(name: string) {
  const written = child('write', name);
  const converted = child('convert', name);
  if (!values.keep) await rm(at(name, 'checkpoint'), { recursive: true });
  const generated = ['1', '0.2'].map(
    (budget): Numbers => ({ budget: Number(budget), ...child('generate', name, budget) }),
  );
  if (!values.keep) await rm(at(name, 'model'), { recursive: true });
  return { written, converted, generated };
}

function at(name: string, part: string): string {
  return join(resolve(values.directory!), `${name}-${part}`);
}

function child(step: string, name: string, budget = '1'): Numbers {
  process.stderr.write(`${name}: ${step}${step === 'generate' ? ` at ${budget}` : ''}\n`);
  const { prompt, answer, 'block-size': block, directory } = values;
  const options = {
    step,
    model: name,
    budget,
    prompt,
    answer,
    'block-size': block,
    share: values.share,
    directory,
  };
  const args = Object.entries(options).flatMap(([option, value]) => [`--${option}`, value!]);
  const { stdout, status } = spawnSync(
    process.execPath,
    [...process.execArgv, fileURLToPath(import.meta.url), ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`${name}: ${step} failed.`);
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

/** Memory of this process alone, without mapped files, where the system tells. */
function own(): number {
  const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : '';
  return 1024 * Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0);
}

async function write(name: string): Promise<Numbers> {
  return writeCheckpoint(at(name, 'checkpoint'), MODELS[name]!(share));
}

async function convert(name: string): Promise<Numbers> {
  const to = at(name, 'model');
  const before = process.resourceUsage().maxRSS * 1024;
  await convertCheckpoint({
    from: at(name, 'checkpoint'),
    to,
    dtype: 'q4',
    blockSize: Number(values['block-size']) as 128,
  });
  const files = await readdir(join(to, 'onnx'));
  return { before, bytes: files.reduce((sum, file) => sum + statSync(join(to, 'onnx', file)).size, 0) };
}

async function generate(name: string): Promise<Numbers> {
  const { imageToken, imageTokens, side } = MODELS[name]!(share);
  const [tokens, answer] = [Number(values.prompt), Number(values.answer)];
  const start = performance.now();
  const { model } = await loadElastic(at(name, 'model'), { dtype: 'q4' });
  const loadSeconds = (performance.now() - start) / 1000;
  const ids = BigInt64Array.from({ length: tokens }, (_, i) =>
    BigInt(i >= 8 && i < 8 + imageTokens ? imageToken : 1000 + ((i * 7919) % 20000)),
  );
  const int64 = (data: BigInt64Array) => new Tensor('int64', data, [1, data.length]);
  const cache = new ElasticCache({ budget: Number(values.budget) });
  const clock = new Clock();
  const asked = performance.now();
  await model.generate({
    input_ids: int64(ids),
    attention_mask: int64(ids.map(() => 1n)),
    pixel_values: new Tensor(
      'float32',
      randomNumbers(3 * side ** 2).map((value) => value * 50),
      [1, 3, side, side],
    ),
    past_key_values: cache,
    streamer: clock as unknown as TextStreamer,
    max_new_tokens: answer,
    min_new_tokens: answer,
    do_sample: false,
    eos_token_id: -1,
  });
  // The prompt is told first.
  const [, first = 0] = clock.times;
  const last = clock.times.at(-1)!;
  const stats = cache.stats();
  return {
    loadSeconds,
    answerSeconds: (last - asked) / 1000,
    firstTokenSeconds: (first - asked) / 1000,
    msPerToken: (last - first) / (clock.times.length - 2),
    tokens: clock.times.length - 1,
    cache: stats.bytesHeld,
    cacheFull: stats.bytesFull,
  };
}
