import { type Cell, REFERENCE } from './cells.js';
import type { Protocol } from './data/protocol.js';
import { bootstrap, type Estimate, mean, median, wilson } from './intervals.js';
import { type Shape, shapeName } from './metrics/latency.js';
import { LATENCY } from './metrics/names.js';
import { perplexity } from './metrics/perplexity.js';
import type { ResultLine } from './results.js';

/** What was measured of a cell's answers; a measure that was not asked for is absent. */
export interface QualityRow {
  policy: string;
  budget: string;
  /** Answers behind perplexity and ROUGE. */
  answers: number;
  /** Entries held when an answer was complete, as a share of the tokens seen; the mean over `asked` answers, short ones too. */
  held: number;
  asked: number;
  /** Over the tokens of all answers together. */
  perplexity?: Estimate;
  /** The mean of the perplexities of the answers, which weighs short ones more. */
  meanPerplexity?: Estimate;
  /** `perplexity` as a multiple of that with the full cache, on the same answers. */
  timesFull?: Estimate;
  /** F1 against the answer with the full cache, 0 to 1. */
  rouge1?: Estimate;
  rouge2?: Estimate;
  rougeL?: Estimate;
  rougeLUnion?: Estimate;
  /** F1 against the true answer, 0 to 1. */
  trueRouge1?: Estimate;
  trueRouge2?: Estimate;
  trueRougeL?: Estimate;
  /** `trueRougeL` as a multiple of that with the full cache, on the same answers. */
  trueRougeLOfFull?: Estimate;
  /** Share of the short answers that are right. */
  accuracy?: Estimate & { right: number; total: number };
  /** `accuracy` as a multiple of that with the full cache, on the same questions; none where that has none right. */
  accuracyOfFull?: Estimate;
}

/** Medians over the samples. */
export interface LatencyRow {
  policy: string;
  budget: string;
  /** `own`, or the tokens of prompt and output: `1024+512 x 4`. */
  shape: string;
  runs: number;
  /** Tokens of a prompt and its output, the medians. */
  promptTokens: number;
  newTokens: number;
  prefillMs: Estimate;
  /** Of one step, which gives a token to every row of the batch. */
  msPerToken: Estimate;
  /** All rows together, while decoding. */
  tokensPerSecond: Estimate;
  /** Prompt and output, and the tokens of all rows in that time: the paper's latency and throughput. */
  seconds: Estimate;
  totalTokensPerSecond: Estimate;
  bytesHeld: number;
  bytesPeak: number;
}

export interface Summary {
  /** How it was measured. */
  protocol?: Protocol;
  quality: QualityRow[];
  latency: LatencyRow[];
}

/** Brings the lines of a sweep together, one row for each cell and, of what was timed, each shape; in the order of both. */
export function summarise(
  lines: readonly ResultLine[],
  cells: readonly Cell[],
  shapes: readonly Shape[],
): Summary {
  const of = (cell: Cell) =>
    lines.filter(({ policy, budget }) => policy === cell.policy && budget === cell.budget.name);
  const full = new Map(of(REFERENCE).map((line) => [`${line.sample}\n${line.task}`, line]));
  const quality = cells.map((cell) => qualityRow(cell, of(cell), full));
  const latency = shapes.map(shapeName).flatMap((shape) =>
    cells.flatMap((cell) => {
      const timed = of(cell).filter(({ task }) => task === `${LATENCY}${shape}`);
      return timed.length > 0 ? [latencyRow(cell, shape, timed)] : [];
    }),
  );
  return { quality: quality.filter(({ held }) => !Number.isNaN(held)), latency };
}

/** One measure of an answer, and the same of the full cache's where that is known. */
interface Measured<T> {
  own: T;
  full: T | undefined;
}

function qualityRow(
  { policy, budget }: Cell,
  lines: readonly ResultLine[],
  full: ReadonlyMap<string, ResultLine>,
): QualityRow {
  const held = lines.flatMap(({ tokensHeld, tokensSeen }) =>
    tokensHeld !== undefined && tokensSeen !== undefined ? [tokensHeld / tokensSeen] : [],
  );
  const answers = lines.filter(
    (line) => line.perplexity ?? line.rouge ?? line.rougeLUnion ?? line.rougeTrue,
  ).length;
  const row: QualityRow = { policy, budget: budget.name, answers, held: mean(held), asked: held.length };

  /** [samples] of [answers] those that have the measure. */
  function bySample<T>(pick: (line: ResultLine) => T | undefined): Measured<T>[][] {
    const found = new Map<string, Measured<T>[]>();
    for (const line of lines) {
      const own = pick(line);
      if (own === undefined) continue;
      const reference = full.get(`${line.sample}\n${line.task}`);
      const measured = { own, full: reference && pick(reference) };
      found.set(line.sample, [...(found.get(line.sample) ?? []), measured]);
    }
    return [...found.values()];
  }

  const surprise = bySample((line) => line.perplexity);
  if (surprise.length > 0) {
    row.perplexity = overSamples(surprise, perplexity);
    row.meanPerplexity = overSamples(surprise, (some) => mean(some.map((one) => perplexity([one]))));
    Object.assign(row, defined({ timesFull: ofFull(surprise, perplexity) }));
  }
  for (const [name, pick] of ROUGE) {
    const scores = bySample(pick);
    if (scores.length > 0) row[name] = overSamples(scores, mean);
  }
  const truly = bySample((line) => line.rougeTrue?.rougeL);
  if (truly.length > 0) Object.assign(row, defined({ trueRougeLOfFull: ofFull(truly, mean) }));
  const verdicts = bySample(({ right }) => right);
  if (verdicts.length > 0) {
    const all = verdicts.flat().map(({ own }) => own);
    row.accuracy = { ...rightShare(verdicts), right: all.filter(Boolean).length, total: all.length };
    Object.assign(row, defined({ accuracyOfFull: ofFull(verdicts, share) }));
  }
  return row;
}

type Rouge = 'rouge1' | 'rouge2' | 'rougeL' | 'rougeLUnion' | 'trueRouge1' | 'trueRouge2' | 'trueRougeL';
const ROUGE: readonly [Rouge, (line: ResultLine) => number | undefined][] = [
  ['rouge1', ({ rouge }) => rouge?.rouge1],
  ['rouge2', ({ rouge }) => rouge?.rouge2],
  ['rougeL', ({ rouge }) => rouge?.rougeL],
  ['rougeLUnion', ({ rougeLUnion }) => rougeLUnion],
  ['trueRouge1', ({ rougeTrue }) => rougeTrue?.rouge1],
  ['trueRouge2', ({ rougeTrue }) => rougeTrue?.rouge2],
  ['trueRougeL', ({ rougeTrue }) => rougeTrue?.rougeL],
];

/** Answers about one image or text hang together, so it is the samples that are drawn again. */
function overSamples<T>(
  samples: readonly (readonly Measured<T>[])[],
  statistic: (values: readonly T[]) => number,
): Estimate {
  return bootstrap(samples, (some) => statistic(some.flat().map(({ own }) => own)));
}

/** A statistic as a multiple of the full cache's, on the same answers in every draw; undefined where that has nothing. */
function ofFull<T>(
  samples: readonly (readonly Measured<T>[])[],
  statistic: (values: readonly T[]) => number,
): Estimate | undefined {
  const pairs = samples.map((sample) =>
    sample.flatMap(({ own, full }) => (full === undefined ? [] : [{ own, full }])),
  );
  const ratio = bootstrap(pairs, (some) => {
    const all = some.flat();
    return statistic(all.map(({ own }) => own)) / statistic(all.map(({ full }) => full));
  });
  return Number.isFinite(ratio.value) ? ratio : undefined;
}

/** What was measured of these. */
function defined(measures: Partial<QualityRow>): Partial<QualityRow> {
  return Object.fromEntries(Object.entries(measures).filter(([, estimate]) => estimate !== undefined));
}

const share = (verdicts: readonly boolean[]) => verdicts.filter(Boolean).length / verdicts.length;

/**
 * By Wilson where each sample has one question, and where all samples have the same share, which drawing them again says nothing about: the samples are then what is
 * counted. Else by the bootstrap, as the questions about one sample hang together.
 */
function rightShare(samples: readonly (readonly Measured<boolean>[])[]): Estimate {
  const drawn = overSamples(samples, share);
  if (drawn.low === null) return drawn;
  const single = samples.every(({ length }) => length === 1);
  return single || drawn.low === drawn.high ? wilson(drawn.value * samples.length, samples.length) : drawn;
}

/** From the first look at the image to the last token, which the prompt's pass and a step for each token but the first make. */
function secondsOf({ prefillMs, msPerToken, newTokens }: NonNullable<ResultLine['latency']>): number {
  return (prefillMs + (newTokens - 1) * msPerToken) / 1000;
}

function latencyRow({ policy, budget }: Cell, shape: string, lines: readonly ResultLine[]): LatencyRow {
  const runs = lines.flatMap(({ latency }) => latency ?? []);
  const middle = (pick: (run: (typeof runs)[number]) => number) => bootstrap(runs.map(pick), median);
  return {
    policy,
    budget: budget.name,
    shape,
    runs: runs.length,
    promptTokens: median(runs.map((run) => run.promptTokens)),
    newTokens: median(runs.map((run) => run.newTokens)),
    prefillMs: middle((run) => run.prefillMs),
    msPerToken: middle((run) => run.msPerToken),
    tokensPerSecond: middle((run) => (1000 * run.batch) / run.msPerToken),
    seconds: middle(secondsOf),
    totalTokensPerSecond: middle((run) => (run.batch * run.newTokens) / secondsOf(run)),
    bytesHeld: median(runs.map((run) => run.bytesHeld)),
    bytesPeak: median(runs.map((run) => run.bytesPeak)),
  };
}
