import { LogitsProcessor, LogitsProcessorList, random, type Tensor } from '@huggingface/transformers';
import { ElasticCacheError, shown } from '../../errors.js';

/** How the next token is drawn. */
export interface Sampling {
  /** Scores are divided by it before they become probabilities: above 0. */
  temperature: number;
  /** Only so many of the likeliest tokens are drawn from; 0 for all. */
  topK: number;
  /** Only the fewest likeliest tokens that have this probability together are drawn from: above 0, 1 for all. */
  topP: number;
  /** Only tokens with at least this share of the likeliest one's probability are drawn from: from 0, for all, to 1. */
  minP: number;
  /** The same seed draws the same tokens from the same scores: a whole number from 0. */
  seed: number;
}

/** Below it the likeliest token has all of the probability, and scores over it leave float32. */
const LEAST_TEMPERATURE = 1e-4;

/** transformers.js's names for these. */
interface Given {
  do_sample?: unknown;
  temperature?: unknown;
  top_k?: unknown;
  top_p?: unknown;
  min_p?: unknown;
  seed?: unknown;
  generation_config?: unknown;
  logits_processor?: unknown;
}

/**
 * The options of a `generate()` call with its sampling done by ours where transformers.js cannot: it draws from one stream of chance for all
 * generations of a process, and leaves out `top_p` and `min_p`. What comes back is then greedy over scores that leave one token.
 * @param model its `generation_config` says what the options do not
 * @throws ElasticCacheError 'invalid-option'
 */
export function withSampling<Options extends Given>(
  model: { generation_config?: unknown },
  { seed, min_p, ...options }: Options,
): Omit<Options, 'seed' | 'min_p'> {
  const asked = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  const settings: Given = {
    do_sample: false,
    // What transformers and transformers.js take where nobody says.
    temperature: 1,
    top_k: 50,
    top_p: 1,
    ...Object(model.generation_config),
    ...Object(options.generation_config),
    ...Object.fromEntries(asked),
  };
  const { temperature, top_k, top_p } = settings;
  const sampling = checkSampling({ temperature, topK: top_k, topP: top_p, minP: min_p ?? 0, seed });
  const isTheirs = seed === undefined && min_p === undefined && top_p === 1;
  if (settings.do_sample !== true) return options;
  // transformers.js would divide by it and draw from what is no number any more.
  if (sampling.temperature < LEAST_TEMPERATURE) return { ...options, do_sample: false };
  if (isTheirs) return options;
  const processors = new LogitsProcessorList();
  for (const processor of (options.logits_processor ?? []) as Iterable<LogitsProcessor>)
    processors.push(processor);
  // Without a seed, one by chance: transformers.js's own, which may be seeded itself.
  const own = sampling.seed ?? Math.floor(random.random() * 2 ** 32);
  processors.push(new DrawnToken({ ...sampling, seed: own }));
  return { ...options, do_sample: false, logits_processor: processors };
}

type Asked = Omit<Sampling, 'seed'> & { seed: number | undefined };

/** @throws ElasticCacheError 'invalid-option' */
function checkSampling(given: { [Name in keyof Sampling]: unknown }): Asked {
  const { temperature, topK, topP, minP, seed } = given;
  const number = (value: unknown) => typeof value === 'number' && Number.isFinite(value);
  if (!(number(temperature) && (temperature as number) >= 0)) {
    throw refused('temperature', temperature, 'a number from 0 (always the likeliest token)');
  }
  if (!(Number.isSafeInteger(topK) && (topK as number) >= 0)) {
    throw refused('top_k', topK, 'a whole number from 1, or 0 for all tokens');
  }
  if (!(number(topP) && (topP as number) > 0 && (topP as number) <= 1)) {
    throw refused('top_p', topP, 'a number above 0 and at most 1');
  }
  if (!(number(minP) && (minP as number) >= 0 && (minP as number) <= 1)) {
    throw refused('min_p', minP, 'a number from 0, for all, to 1');
  }
  if (seed !== undefined && !(Number.isSafeInteger(seed) && (seed as number) >= 0)) {
    throw refused('seed', seed, 'a whole number from 0');
  }
  return { temperature, topK, topP, minP, seed } as Asked;
}

function refused(name: string, value: unknown, wanted: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', `${name} is ${shown(value)}; it must be ${wanted}.`);
}

/** Draws each row's next token and leaves no other: exactly what was drawn is then the likeliest. */
export class DrawnToken extends LogitsProcessor {
  /** One stream of chance for each row of the batch, which nobody else draws from. */
  private readonly streams: InstanceType<typeof random.Random>[] = [];

  constructor(private readonly sampling: Sampling) {
    super();
  }

  /** @param logits [rows, vocabulary], overwritten */
  override _call(_ids: bigint[][], logits: Tensor): Tensor {
    const [rows, vocabulary] = logits.dims as [number, number];
    const data = logits.data as Float32Array;
    for (let row = 0; row < rows; row++) {
      this.streams[row] ??= new random.Random(this.sampling.seed + row);
      const scores = data.subarray(row * vocabulary, (row + 1) * vocabulary);
      const token = draw(scores, this.sampling, this.streams[row]!.random());
      scores.fill(Number.NEGATIVE_INFINITY);
      scores[token] = 0;
    }
    return logits;
  }
}

/**
 * The token that chance falls on: scores over `temperature`, of those the ones with `minP` of the probability of the highest, of those the `topK` highest, of those the fewest that have `topP` of the
 * probability. Of equal scores the lower id comes first.
 * @param scores [vocabulary]
 * @param chance in [0, 1)
 */
export function draw(
  scores: Float32Array,
  { temperature, topK, topP, minP }: Omit<Sampling, 'seed'>,
  chance: number,
): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const score of scores) most = Math.max(most, score);
  const weights = Float64Array.from(scores, (score) => {
    const weight = Math.exp((score - most) / temperature);
    return weight < minP ? 0 : weight;
  });
  const tokens = candidates(weights, topK, topP);
  const drawn = chance * tokens.reduce((sum, token) => sum + weights[token]!, 0);
  let sum = 0;
  for (const token of tokens) {
    sum += weights[token]!;
    if (drawn < sum) return token;
  }
  return tokens.at(-1)!;
}

/** The tokens that may be drawn, the likeliest first where it matters. */
function candidates(weights: Float64Array, topK: number, topP: number): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const all = Array.from(weights.keys()).filter((token) => weights[token]! > 0);
  const byWeight = (tokens: number[]) => tokens.sort((a, b) => weights[b]! - weights[a]! || a - b);
  if (topK > 0 && topK < all.length) return nucleus(byWeight(all).slice(0, topK), weights, topP);
  if (topP === 1) return all;
  // Tokens below this have less than 1 - topP together, so all that are wanted are above: most need no sorting.
  const least = ((1 - topP) * total) / weights.length;
  return nucleus(byWeight(all.filter((token) => weights[token]! >= least)), weights, topP, total);
}

/** The first tokens, as many as have `topP` of the weight `total` of all that could be drawn. */
function nucleus(
  tokens: number[],
  weights: Float64Array,
  topP: number,
  total = tokens.reduce((sum, token) => sum + weights[token]!, 0),
): number[] {
  let sum = 0;
  const end = tokens.findIndex((token) => {
    sum += weights[token]!;
    return sum >= topP * total;
  });
  return end < 0 ? tokens : tokens.slice(0, end + 1);
}
