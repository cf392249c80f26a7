/**
 * Milliseconds per generated token, side by side: unmodified transformers.js, ours with the full cache, ours with a fifth.
 *
 * Run: npm run bench -- [--model DIR] [--rounds 6] [--block-size 32]
 *
 * 1. Whole generate() calls on the embedded model (or --model), with transformers.js's own class against ours.
 * 2. Four layers of LLaVA-1.5-7B's shape with random int4 weights, at 1,024 and 2,048 cached tokens. Here transformers.js is
 *    its loop and not its classes: the stock decoder session, each `present` output fed back as the next `past`.
 *    The floor is our decoder with an empty cache.
 *
 * Contenders take turns. A table and a chart in bench/results/; the last line on stdout is JSON.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { openDecoder } from '../src/runtime/open-decoder.js';
import { chartSvg, type Panel } from './generation/chart.js';
import { elasticLoop, emptyLoop, interleaved, transformersLoop } from './generation/contenders.js';
import { embedded } from './generation/embedded.js';
import { writeFourLayers } from './generation/four-layers.js';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('../demo-model/llava-scenes', import.meta.url)) },
    rounds: { type: 'string', default: '6' },
    'block-size': { type: 'string', default: '32' },
  },
});
const rounds = Number(options.rounds);
const blockSize = Number(options['block-size']);
const results = new URL('results/', import.meta.url);

async function fourLayers(): Promise<Panel[]> {
  console.error('writing four layers of random int4 weights');
  const { path, remove } = await writeFourLayers(blockSize);
  try {
    const decoder = await openDecoder(path);
    const panels: Panel[] = [];
    for (const cached of [1024, 2048]) {
      console.error(`measuring at ${cached} cached tokens`);
      const contenders = {
        'transformers.js': await transformersLoop(path, cached),
        'elastic-cache, full': elasticLoop(decoder, cached, 'full', 1),
        'elastic-cache, budget 0.2': elasticLoop(decoder, cached, 'elastic', 0.2),
        'empty cache': emptyLoop(decoder),
      };
      panels.push({
        title: `four layers of LLaVA-1.5-7B, int4, ${cached} cached tokens`,
        ms: await interleaved(contenders, rounds),
      });
    }
    return panels;
  } finally {
    await remove();
  }
}

async function embeddedModel(): Promise<Panel[]> {
  if (!existsSync(options.model)) {
    console.error(`left out: there is no model at ${options.model}`);
    return [];
  }
  console.error('measuring generate() on the embedded model');
  const { promptTokens, ms } = await embedded(options.model, 3);
  return [{ title: `embedded model, prompt of ${promptTokens} tokens`, ms }];
}

function table(panels: readonly Panel[]): string {
  const result = new Table({
    head: ['', 'ms per token', 'times as fast as transformers.js', 'times the empty cache'],
    colAligns: ['left', 'right', 'right', 'right'],
    style: { head: [], border: [] },
  });
  for (const { title, ms } of panels) {
    result.push([{ content: title, colSpan: 4 }]);
    for (const [name, time] of Object.entries(ms)) {
      const floor = ms['empty cache'];
      const times = (ms['transformers.js']! / time).toFixed(2);
      result.push([`  ${name}`, time.toFixed(2), times, floor ? (time / floor).toFixed(2) : '']);
    }
  }
  return result.toString();
}

const panels = [...(await embeddedModel()), ...(await fourLayers())];
const machine = `${cpus()[0]?.model}, ${cpus().length} cores`;
await mkdir(results, { recursive: true });
await writeFile(new URL('decode.svg', results), chartSvg('Milliseconds per generated token', panels));
console.log(table(panels));
console.log(
  JSON.stringify({ benchmark: 'generation', machine, node: process.version, blockSize, rounds, panels }),
);
