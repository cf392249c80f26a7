/**
 * Requests of unequal prompts and answers through an engine, against the same one after another, and against llama.cpp with as many parallel slots where it is installed
 * (npm install --prefix bench/peers). Run:
 *
 *   npx tsx bench/engine.ts [--requests 8] [--lanes 8] [--budget 0.2] [--prompt 128] [--answer 96]
 *
 * Four layers of LLaVA-1.5-7B's shape with random int8 weights and a small vocabulary, in this thread. Prompts and answers are spread evenly from a half to one and a half of --prompt
 * and --answer tokens, the long with the short. Everything counts: prompts, choosing tokens, text. Answers of both ways must be equal. llama.cpp has weights of the same shape and
 * kind (q8_0) and its own cache, in half precision and whole. A table; the last line is JSON.
 */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { Tensor } from '@huggingface/transformers';
import Table from 'cli-table3';
import { createEngine, type Engine, type EngineRequest, loadElastic } from '../src/index.js';
import { writeFourLayerModel } from './generation/four-layers.js';
import { llamaCpp } from './peers/llama-cpp.js';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '8' },
    lanes: { type: 'string', default: '8' },
    budget: { type: 'string', default: '0.2' },
    prompt: { type: 'string', default: '128' },
    answer: { type: 'string', default: '96' },
  },
});
const numbers = Object.fromEntries(
  Object.entries(values).map(([name, value]) => [name, Number(value)]),
) as Record<keyof typeof values, number>;
const { requests: count, lanes, budget, prompt, answer } = numbers;

/** From a half to one and a half of `mean`. */
const spread = (mean: number, place: number) =>
  Math.max(1, Math.round(mean * (0.5 + (count > 1 ? place / (count - 1) : 0.5))));

const requests = Array.from({ length: count }, (_, index): EngineRequest => {
  const tokens = spread(prompt, index);
  const ids = BigInt64Array.from({ length: tokens }, (_, i) => BigInt(3 + ((i * i + index * 31) % 250)));
  return {
    inputs: {
      input_ids: new Tensor('int64', ids, [1, tokens]),
      attention_mask: new Tensor(
        'int64',
        ids.map(() => 1n),
        [1, tokens],
      ),
    },
    // The long with the short: the index times a number that shares no factor with the count, as a permutation.
    maxNewTokens: spread(answer, (index * 5 + 2) % count),
    budget,
    logitBias: { 2: -100 },
  };
});

interface Run {
  seconds: number;
  /** Until the first text of each, sorted. */
  first: number[];
  texts: string[];
  tokens: number;
}

async function run(engine: Engine, together: boolean): Promise<Run> {
  const start = performance.now();
  const first: number[] = [];
  let tokens = 0;
  const ask = async (request: EngineRequest) => {
    let text = '';
    const asked = performance.now();
    for await (const event of engine.add(request)) {
      if (event.type === 'text') {
        if (text === '') first.push((performance.now() - asked) / 1000);
        text += event.text;
      }
      if (event.type === 'usage') tokens += event.usage.newTokens;
    }
    return text;
  };
  const texts: string[] = [];
  if (together) texts.push(...(await Promise.all(requests.map(ask))));
  else for (const request of requests) texts.push(await ask(request));
  return { seconds: (performance.now() - start) / 1000, first: first.sort((a, b) => a - b), texts, tokens };
}

console.error('writing four layers of random int8 weights');
const { directory, remove } = await writeFourLayerModel();
try {
  const loaded = await loadElastic(directory);
  const engine = await createEngine(loaded, { lanes, park: 0 });
  const before = loadavg()[0]!;
  await run(await createEngine(loaded, { lanes: 1, park: 0 }), false).then(() => {});
  const one = await run(engine, false);
  console.error(`one after another: ${one.seconds.toFixed(1)} s`);
  const all = await run(engine, true);
  console.error(`together: ${all.seconds.toFixed(1)} s`);
  const results = { 'one after another': one, together: all };
  const table = new Table({ head: ['', 'seconds', 'tokens/s', 'first text, median s', 'last s'] });
  for (const [name, { seconds, first, tokens }] of Object.entries(results)) {
    table.push([
      name,
      seconds.toFixed(1),
      (tokens / seconds).toFixed(1),
      first[first.length >> 1]!.toFixed(2),
      first.at(-1)!.toFixed(2),
    ]);
  }
  const asked = requests.map(({ inputs, maxNewTokens }) => ({
    prompt: inputs!.input_ids.dims[1]!,
    answer: maxNewTokens!,
  }));
  const llama = await llamaCpp({ kind: 'int8' });
  let llamaSeconds: number | undefined;
  if (llama) {
    const answerAll = await llama.requests(asked, lanes);
    await answerAll();
    const start = performance.now();
    await answerAll();
    llamaSeconds = (performance.now() - start) / 1000;
    await llama.remove();
    const tokens = asked.reduce((sum, { answer: each }) => sum + each, 0);
    table.push(['llama.cpp, together', llamaSeconds.toFixed(1), (tokens / llamaSeconds).toFixed(1), '', '']);
  } else {
    console.error('left out: llama.cpp (npm install --prefix bench/peers)');
  }
  console.log(table.toString());
  const isEqual = one.texts.every((text, index) => text === all.texts[index]);
  const ratio = Number((one.seconds / all.seconds).toFixed(2));
  console.log(
    `${ratio} times as fast together; answers ${isEqual ? 'equal' : 'DIFFERENT'}; load ${before.toFixed(1)}`,
  );
  console.log(
    JSON.stringify({
      benchmark: 'engine',
      lanes,
      budget,
      tokens: asked.map(({ prompt: each, answer: length }) => [each, length]),
      seconds: { one: one.seconds, together: all.seconds, llamaCpp: llamaSeconds },
      ratio,
      isEqual,
    }),
  );
  process.exitCode = isEqual ? 0 : 1;
  await loaded.model.dispose();
} finally {
  await remove();
}
