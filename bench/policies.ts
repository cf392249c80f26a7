/**
 * What policies cost beside the model: milliseconds to compress a prompt, and to add a token and evict one. Run: npx tsx bench/policies.ts
 *
 * The shape of LLaVA-1.5-7B (32 layers of 32 heads of 128), budget 0.2. Keys are like an image's: much in common, forty kinds, and
 * noise. Policies take turns, round after round, and the median is reported. Last line: JSON.
 */
import { ElasticCache } from '../src/elastic-cache.js';
import { median } from '../src/eval/intervals.js';
import { Random } from '../src/random.js';

const shape = { layers: 32, kvHeads: 32, headDim: 128 };
const width = shape.kvHeads * shape.headDim;
const policies = ['elastic', 'elastic-plus', 'h2o'] as const;
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

/** Attention of `held` entries, a few of which receive most. */
const attention = (held: number) => Float32Array.from({ length: held }, () => Math.exp(2 * bell()));

/** The rows of all layers; they share keys, whose channels a sketch takes from different layers. */
const rows = (keys: Float32Array, attention: Float32Array) =>
  Array.from({ length: shape.layers }, () => ({ keys, values: keys, attention }));

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
      const read = rows(prompt, attention(tokens));
      const time = timed(() => cache.append(read, tokens));
      const steps: number[] = [];
      for (let step = 0; step < newTokens; step++) {
        const next = rows(keysLikeAnImage(1), attention(cache.held(0) + 1));
        steps.push(timed(() => cache.append(next, 1)));
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
