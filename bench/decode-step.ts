/**
 * Time of one decode step of the cache alone, append and evict, by the number of entries held. Run: npx tsx bench/decode-step.ts
 *
 * The shape of LLaVA-1.5-7B (32 heads of 128). One layer is measured and multiplied by 32, so that 32k entries (1 GB for one
 * layer) fit. Sizes take turns, round after round, and the median is reported. Last line: JSON.
 */
import { ElasticCache } from '../src/elastic-cache.js';
import { median } from '../src/eval/intervals.js';
import { readMadeUpTurn } from './made-up-turn.js';

const layers = 32;
const kvHeads = 32;
const headDim = 128;
const sizes = [1, 2, 4, 8, 16, 32].map((thousands) => thousands * 1024);
// Rounds are short, so that the median is of rounds that were not interrupted.
const rounds = 400;
const stepsPerRound = 5;

const row = Float32Array.from({ length: kvHeads * headDim }, (_, index) => index / 1000);
const step = [{ keys: row, values: row }];

function filled(held: number): ElasticCache {
  const cache = new ElasticCache({
    policy: 'elastic',
    budget: { tokens: held },
    layers: 1,
    kvHeads,
    headDim,
  });
  // The prompt fills the budget to the last entry, so that every step after it evicts one.
  readMadeUpTurn(cache, 1, kvHeads, held, (tokens) => new Float32Array(tokens * row.length), Math.random);
  return cache;
}

function microsecondsPerStep(cache: ElasticCache): number {
  const start = performance.now();
  for (let count = 0; count < stepsPerRound; count++) cache.appendStep(step);
  return ((performance.now() - start) * 1000) / stepsPerRound;
}

const caches = sizes.map((held) => filled(held));
const times: number[][] = sizes.map(() => []);
for (let round = -100; round < rounds; round++) {
  caches.forEach((cache, index) => {
    const time = microsecondsPerStep(cache);
    if (round >= 0) times[index]!.push(time);
  });
}

const results = sizes.map((_, index) => {
  const perLayer = median(times[index]!);
  return {
    entriesHeld: caches[index]!.held(0),
    microsecondsPerLayer: Number(perLayer.toFixed(2)),
    millisecondsAllLayers: Number(((perLayer * layers) / 1000).toFixed(3)),
  };
});
console.table(results, ['entriesHeld', 'microsecondsPerLayer', 'millisecondsAllLayers']);
console.log(
  JSON.stringify({ benchmark: 'decode-step', policy: 'elastic', layers, kvHeads, headDim, results }),
);
