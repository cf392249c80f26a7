import { type Cell, REFERENCE } from './cells.js';
import { bootstrap, type Estimate, mean, median, wilson } from './intervals.js';
import { type Shape, shapeName } from './metrics/latency.js';
import { LATENCY } from './metrics/names.js';
import { perplexity, type Surprise } from './metrics/perplexity.js';
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
  /** Share of the short answers that are right. */
  accuracy?: Estimate & { right: number; total: number };
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
  bytesHeld: number;
  bytesPeak: number;
}

export interface Summary {
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
  const surprise = ofAnswers(of(REFERENCE), ({ perplexity }) => perplexity);
  const quality = cells.map((cell) => qualityRow(cell, of(cell), surprise));
  const latency = shapes.map(shapeName).flatMap((shape) =>
    cells.flatMap((cell) => {
      const timed = of(cell).filter(({ task }) => task === `${LATENCY}${shape}`);
      return timed.length > 0 ? [latencyRow(cell, shape, timed)] : [];
    }),
  );
  return { quality: quality.filter(({ held }) => !Number.isNaN(held)), latency };
}

/** One measure of every answer that has it, by sample and task. */
function ofAnswers<T>(
  lines: readonly ResultLine[],
  pick: (line: ResultLine) => T | undefined,
): Map<string, T> {
  const found = new Map<string, T>();
  for (const line of lines) {
    const value = pick(line);
    if (value !== undefined) found.set(`${line.sample}\n${line.task}`, value);
  }
  return found;
}

function qualityRow(
  { policy, budget }: Cell,
  lines: readonly ResultLine[],
  full: ReadonlyMap<string, Surprise>,
): QualityRow {
  const held = lines.flatMap(({ tokensHeld, tokensSeen }) =>
    tokensHeld !== undefined && tokensSeen !== undefined ? [tokensHeld / tokensSeen] : [],
  );
  const answers = lines.filter((line) => line.perplexity ?? line.rouge ?? line.rougeLUnion).length;
  const row: QualityRow = { policy, budget: budget.name, answers, held: mean(held), asked: held.length };

  const surprise = ofAnswers(lines, (line) => line.perplexity);
  const known = [...surprise.values()];
  if (known.length > 0) {
    row.perplexity = bootstrap(known, perplexity);
    row.meanPerplexity = bootstrap(known, (some) => mean(some.map((one) => perplexity([one]))));
    const pairs = [...surprise].flatMap(([key, own]) => {
      const reference = full.get(key);
      return reference ? [{ own, reference }] : [];
    });
    row.timesFull = bootstrap(
      pairs,
      (some) => perplexity(some.map(({ own }) => own)) / perplexity(some.map(({ reference }) => reference)),
    );
  }
  const rouge = [...ofAnswers(lines, (line) => line.rouge).values()];
  if (rouge.length > 0) {
    for (const name of ['rouge1', 'rouge2', 'rougeL'] as const) {
      row[name] = bootstrap(
        rouge.map((scores) => scores[name]),
        mean,
      );
    }
  }
  const union = [...ofAnswers(lines, ({ rougeLUnion }) => rougeLUnion).values()];
  if (union.length > 0) row.rougeLUnion = bootstrap(union, mean);
  const verdicts = [...ofAnswers(lines, ({ right }) => right).values()];
  if (verdicts.length > 0) {
    const right = verdicts.filter(Boolean).length;
    row.accuracy = { ...wilson(right, verdicts.length), right, total: verdicts.length };
  }
  return row;
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
    bytesHeld: median(runs.map((run) => run.bytesHeld)),
    bytesPeak: median(runs.map((run) => run.bytesPeak)),
  };
}
