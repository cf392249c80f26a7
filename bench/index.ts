/**
 * Unmodified transformers.js, ours with the full cache and ours with a fifth, side by side: reading a prompt, and writing tokens.
 *
 * Run: npm run bench -- [--model DIR] [--text-decoder FILE] [--rounds 6] [--block-size 32] [--weights int4|int8] [--accuracy-level 4] [--cached 1024,2048] [--batch 1,4,8]
 *      [--only prefill|decode|text]
 *
 * 1. Whole generate() calls on the embedded model (or --model), with transformers.js's own class against ours.
 * 2. Four layers of LLaVA-1.5-7B's shape with random weights: prompts of 1,024 tokens; tokens with so many cached (1,280 is the middle of the paper's 1,024 and 512), in steps of so
 *    many sequences. With --accuracy-level 0 the file leaves it out, and ours is measured with the option that sets it, too. Here transformers.js is its loop and not its classes: the stock decoder session, each `present` output fed back as the next `past`.
 *    The floor is our decoder with an empty cache.
 *    With `npm install --prefix bench/peers`, llama.cpp too, on a GGUF of the same shape (q4_0 or q8_0) with its cache in half precision.
 * 3. With --text-decoder, the decoder of a text model (`model.onnx`): prompts of 1,024 tokens, which --only text measures alone.
 *
 * Contenders take turns; times are medians. `cpu` is the time of all threads, which other programs on the machine change less; `outside` what is
 * not ONNX Runtime's. Tables and charts in bench/results/; the last line on stdout is JSON.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { openDecoder } from '../src/runtime/open-decoder.js';
import { chartSvg, type Panel } from './generation/chart.js';
import { type Contender, interleaved, type Measured } from './generation/clocks.js';
import { cacheMegabytes, elasticLoop, emptyLoop, transformersLoop } from './generation/contenders.js';
import { embedded } from './generation/embedded.js';
import { SHAPE, type Weights, writeFourLayers } from './generation/four-layers.js';
import { prefill } from './generation/prefill.js';
import { type LlamaCpp, llamaCpp } from './peers/llama-cpp.js';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('../demo-model/llava-scenes', import.meta.url)) },
    rounds: { type: 'string', default: '6' },
    'block-size': { type: 'string', default: '32' },
    weights: { type: 'string', default: 'int4' },
    'accuracy-level': { type: 'string' },
    cached: { type: 'string', default: '1024,2048' },
    batch: { type: 'string', default: '1' },
    'text-decoder': { type: 'string' },
    only: { type: 'string' },
  },
});
const rounds = Number(options.rounds);
const blockSize = Number(options['block-size']);
const numbers = (list: string) => list.split(',').map(Number);
const cachedTokens = numbers(options.cached);
const batches = numbers(options.batch);
const level = options['accuracy-level'] === undefined ? undefined : Number(options['accuracy-level']);
const results = new URL('results/', import.meta.url);

const weights: Weights = options.weights === 'int8' ? { kind: 'int8' } : { kind: 'int4', blockSize };

/** What contenders took in one setting. */
interface Setting {
  readonly title: string;
  readonly contenders: Record<string, Measured>;
  /** Of the keys and values that are read. */
  readonly megabytes?: Record<string, number>;
}
const PROMPT = 1024;
const wants = (part: 'prefill' | 'decode' | 'text') => (options.only ?? part) === part;

async function fourLayers(): Promise<{ prompts: Setting[]; tokens: Setting[] }> {
  if (!wants('prefill') && !wants('decode')) return { prompts: [], tokens: [] };
  console.error(`writing four layers of random ${weights.kind} weights`);
  const { path, remove } = await writeFourLayers(weights, level);
  const said = level === undefined ? '' : ` (accuracy level ${level})`;
  const shape = `four layers of LLaVA-1.5-7B, ${weights.kind}${said}`;
  const [prompts, tokens]: [Setting[], Setting[]] = [[], []];
  const peers: (LlamaCpp | undefined)[] = [];
  try {
    const decoder = await openDecoder(path);
    const rounding = level === 0 ? await openDecoder(path, { accuracyLevel: 4 }) : undefined;
    const llama = await llamaCpp(weights);
    if (!llama) console.error('left out: llama.cpp (npm install --prefix bench/peers)');
    peers.push(llama);
    if (wants('prefill')) {
      console.error('measuring prompts');
      const others: Record<string, Contender> = llama ? { 'llama.cpp': await llama.prompt(PROMPT) } : {};
      const half = Math.ceil(rounds / 2);
      const contenders = await prefill(path, decoder, PROMPT, SHAPE.hidden, half, others);
      prompts.push({ title: `${shape}, prompt of ${PROMPT} tokens`, contenders });
    }
    // The first step of a turn pays for what the contender before left to be collected.
    const steps = { calls: 4, counted: 3 };
    const settings = batches.flatMap((batch) => cachedTokens.map((cached) => ({ batch, cached })));
    for (const { batch, cached } of wants('decode') ? settings : []) {
      console.error(`measuring ${batch} sequences at ${cached} cached tokens`);
      const contenders = {
        'transformers.js': await transformersLoop(path, cached, batch),
        ...(llama && { 'llama.cpp': await llama.token(cached, batch) }),
        'elastic-cache, full': elasticLoop(decoder, cached, 'full', 1, batch),
        'elastic-cache, budget 0.2': elasticLoop(decoder, cached, 'elastic-plus', 0.2, batch),
        ...(rounding && {
          'elastic-cache, full, accuracyLevel 4': elasticLoop(rounding, cached, 'full', 1, batch),
        }),
        'empty cache': emptyLoop(decoder, batch),
      };
      const megabytes = {
        'transformers.js': cacheMegabytes(cached, batch, 4),
        // Half precision.
        'llama.cpp': cacheMegabytes(cached, batch, 2),
        'elastic-cache, full': cacheMegabytes(cached, batch, 4),
        'elastic-cache, budget 0.2': cacheMegabytes(Math.floor(0.2 * cached), batch, 4),
      };
      const which = batch === 1 ? '' : `a step of ${batch} sequences, `;
      tokens.push({
        title: `${shape}, ${which}${cached} cached tokens${batch === 1 ? '' : ' each'}`,
        contenders: await interleaved(contenders, rounds, steps),
        megabytes,
      });
    }
    return { prompts, tokens };
  } finally {
    for (const peer of peers) await peer?.remove();
    await remove();
  }
}

async function textDecoder(): Promise<Setting[]> {
  const path = options['text-decoder'];
  if (path === undefined || !(wants('text') || wants('prefill'))) return [];
  console.error(`measuring prompts on ${path}`);
  const decoder = await openDecoder(path);
  const contenders = await prefill(path, decoder, PROMPT, 0, Math.ceil(rounds / 2));
  await decoder.release();
  return [{ title: `${path.split('/').slice(-4).join('/')}, prompt of ${PROMPT} tokens`, contenders }];
}

async function embeddedModel(): Promise<{ title: string; ms: Record<string, number> }[]> {
  if (!wants('decode')) return [];
  if (!existsSync(options.model)) {
    console.error(`left out: there is no model at ${options.model}`);
    return [];
  }
  console.error('measuring generate() on the embedded model');
  const { promptTokens, ms } = await embedded(options.model, 3);
  return [{ title: `embedded model, prompt of ${promptTokens} tokens`, ms }];
}

function table(what: string, settings: readonly Setting[]): string {
  const result = new Table({
    head: [
      '',
      what,
      'cpu',
      'outside',
      'times as fast as the first',
      'by cpu',
      'times the empty cache',
      'cache MB',
    ],
    colAligns: ['left', ...new Array<'right'>(7).fill('right')],
    style: { head: [], border: [] },
  });
  for (const { title, contenders, megabytes } of settings) {
    result.push([{ content: title, colSpan: 8 }]);
    const [first] = Object.values(contenders);
    const floor = contenders['empty cache'];
    for (const [name, { ms, cpuMs, outsideMs }] of Object.entries(contenders)) {
      result.push([
        `  ${name}`,
        ms.toFixed(2),
        cpuMs.toFixed(2),
        `${((100 * outsideMs) / ms).toFixed(1)}%`,
        (first!.ms / ms).toFixed(2),
        (first!.cpuMs / cpuMs).toFixed(2),
        floor ? (ms / floor.ms).toFixed(2) : '',
        megabytes?.[name]?.toFixed(1) ?? '',
      ]);
    }
  }
  return result.toString();
}

async function write(name: string, title: string, settings: readonly Setting[], others: Panel[] = []) {
  const panels = settings.map((setting) => ({
    title: setting.title,
    ms: Object.fromEntries(Object.entries(setting.contenders).map(([name, { ms }]) => [name, ms])),
  }));
  if (panels.length + others.length === 0) return;
  await writeFile(new URL(name, results), chartSvg(title, [...others, ...panels]));
  if (settings.length > 0) console.log(table(title, settings));
}

const loadBefore = loadavg()[0];
const whole = await embeddedModel();
const { prompts, tokens } = await fourLayers();
prompts.push(...(await textDecoder()));
const machine = `${cpus()[0]?.model}, ${cpus().length} cores`;
const load = [loadBefore, loadavg()[0]];
await mkdir(results, { recursive: true });
await write('prefill.svg', 'Milliseconds per prompt', prompts);
await write('decode.svg', 'Milliseconds per generated token', tokens, whole);
for (const { title, ms } of whole) console.log(title, ms);
console.log(
  JSON.stringify({
    benchmark: 'generation',
    ...{ machine, load, node: process.version, weights, rounds },
    ...{ whole, prompts, tokens },
  }),
);
