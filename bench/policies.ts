/**
 * What policies cost beside the model: milliseconds to compress a prompt, and to add a token and evict one. Run: npx tsx bench/policies.ts
 *
 * The shape of LLaVA-1.5-7B (32 layers of 32 heads of 128), budget 0.2. Keys are like an image's: much in common, forty kinds, and
 * noise. Policies take turns, round after round, and the median is reported. Last line: JSON.
 */
import { ElasticCache } from '../src/elastic-cache.js';
import { median } from '../src/eval/intervals.js';
import { Random } from '../src/random.js';
import { type MakeRows, readMadeUpTurn } from './made-up-turn.js';

const shape = { layers: 32, kvHeads: 32, headDim: 128 };
const width = shape.kvHeads * shape.headDim;
const policies = ['elastic', 'snapkv', 'elastic-plus', 'h2o'] as const;
const prompts = [1024, 2048];
const kinds = 40;
const rounds = 5;
const newTokens = 200;

const random = new Random(1);
const bell = () => random.next() + random.next() + random.next() - 1.5;
const vector = (scale: number) => Float32Array.from({ length: width }, () => scale * bell());
const common = vector(1.5);
const looks = Array.from({ length: kinds }, () => vector(1));

/** Keys [kvHeads, tokens, headDim]. */
function keysLikeAnImage(tokens: number): Float32Array {
  const keys = new Float32Array(tokens * width);
  for (let token = 0; token < tokens; token++) {
    const look = looks[random.int(0, kinds - 1)]!;
    for (let channel = 0; channel < width; channel++) {
      const head = Math.floor(channel / shape.headDim);
      const at = (head * tokens + token) * shape.headDim + (channel % shape.headDim);
      keys[at] = common[channel]! + look[channel]! + 0.5 * bell();
    }
  }
  return keys;
}

/** Attention of an entry: a few receive most. */
const attention = () => Math.exp(2 * bell());

/** The first, and then the next, tokens of a prompt [kvHeads, tokens, headDim]. */
function keysOf(prompt: Float32Array, tokens: number): MakeRows {
  let start = 0;
  return (count) => {
    const part = new Float32Array(count * width);
    for (let head = 0; head < shape.kvHeads; head++) {
      const from = (head * tokens + start) * shape.headDim;
      part.set(prompt.subarray(from, from + count * shape.headDim), head * count * shape.headDim);
    }
    start += count;
    return part;
  };
}

function timed(task: () => void): number {
  const start = performance.now();
  task();
  return performance.now() - start;
}

const results = prompts.flatMap((tokens) => {
  const prompt = keysLikeAnImage(tokens);
  const times = new Map(
    policies.map((policy) => [policy, { prompt: [] as number[], token: [] as number[] }]),
  );
  for (let round = -1; round < rounds; round++) {
    for (const [policy, { prompt: promptTimes, token: tokenTimes }] of times) {
      const cache = new ElasticCache({ policy, budget: 0.2, ...shape });
      const { layers, kvHeads } = shape;
      const read = () => readMadeUpTurn(cache, layers, kvHeads, tokens, keysOf(prompt, tokens), attention);
      const time = timed(read);
      const steps: number[] = [];
      for (let step = 0; step < newTokens; step++) {
        const keys = keysLikeAnImage(1);
        const width = kvHeads * (cache.past(0).capacity + 1);
        const layer = { keys, values: keys, attention: Float32Array.from({ length: width }, attention) };
        const next = Array.from({ length: layers }, () => layer);
        steps.push(timed(() => cache.appendStep(next)));
      }
      if (round < 0) continue;
      promptTimes.push(time);
      tokenTimes.push(median(steps));
    }
  }
  return [...times].map(([policy, { prompt, token }]) => ({
    policy,
    promptTokens: tokens,
    msPrompt: Number(median(prompt).toFixed(0)),
    msToken: Number(median(token).toFixed(2)),
  }));
});
console.table(results);
console.log(JSON.stringify({ benchmark: 'policies', budget: 0.2, ...shape, results }));
