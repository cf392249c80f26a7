import type { LatencyRow, QualityRow, Summary } from '../summary.js';
import { type Column, estimate, figures, share, table } from './markdown.js';
import { ABLATION_BUDGET, ABLATIONS, AHEAD, CURVES, CURVES_FULL, LATENCY_TABLE } from './published.js';

const NONE = '-';

/**
 * The paper's tables 2 and 3 and the curves of its figure 2, of a run, beside what was published; a dash where the run has no such row. Markdown.
 * @param model what the run is of
 */
export function paperTables(summary: Summary, model: string): string {
  return `${[
    '## Table 2: seconds and tokens a second, prompt included',
    latencyTable(summary),
    `Published: an A100, 80% pruned (budget 0.2). This run: ${model}, this machine.`,
    '## Table 3: perplexity of the ablations at a budget of 0.5',
    ablationTable(summary),
    `Published: LLaVA-1.5-13B on LLaVA-Description, by code that compares indices with a count where the text ranks (docs/policies.md). This run: ${model}. A moving average is not offered: the paper does not say of how many.`,
    '## Figure 2: perplexity and ROUGE-L by budget',
    curveTable(summary),
    `Published: LLaVA-1.5-7B on LLaVA-Description, full cache ${CURVES_FULL}, as PrefixKV's authors measured with each method's released code; the figure itself is a picture, and its text says that at 0.5 Elastic Cache is ahead of H2O by ${AHEAD.h2o[0]} and ${AHEAD.h2o[1]}, of Local by ${AHEAD.local[0]} and ${AHEAD.local[1]}. This run: ${model}.`,
  ].join('\n\n')}\n`;
}

interface Timed {
  readonly of: string;
  readonly shape: string;
  readonly policy: string;
  readonly seconds: string;
  readonly perSecond: string;
  readonly times: string;
}

const TIMED: Column<Timed>[] = [
  ['of', ({ of }) => of],
  ['prompt+output', ({ shape }) => shape],
  ['cache', ({ policy }) => policy],
  ['s', ({ seconds }) => seconds],
  ['tokens/s', ({ perSecond }) => perSecond],
  ['times full', ({ times }) => times],
];

function latencyTable({ latency }: Summary): string {
  const published = LATENCY_TABLE.flatMap(({ model, shape, full, elastic }): Timed[] => [
    {
      of: `published, ${model}`,
      shape,
      policy: 'full',
      seconds: String(full?.[0] ?? 'out of memory'),
      perSecond: String(full?.[1] ?? NONE),
      times: full ? '1.00' : NONE,
    },
    {
      of: `published, ${model}`,
      shape,
      policy: 'elastic 0.2',
      seconds: String(elastic[0]),
      perSecond: String(elastic[1]),
      times: full ? (elastic[1] / full[1]).toFixed(2) : NONE,
    },
  ]);
  const own = latency.map((row): Timed => {
    const full = latency.find(({ shape, policy }) => shape === row.shape && policy === 'full');
    return {
      of: 'this run',
      shape: row.shape,
      policy: row.policy === 'full' ? 'full' : `${row.policy} ${row.budget}`,
      seconds: estimate(row.seconds, figures(3)),
      perSecond: estimate(row.totalTokensPerSecond, figures(3)),
      times: full ? timesOf(row, full).toFixed(2) : NONE,
    };
  });
  const none: Timed = {
    of: 'this run',
    shape: NONE,
    policy: NONE,
    seconds: NONE,
    perSecond: NONE,
    times: NONE,
  };
  return table(TIMED, [...published, ...(own.length > 0 ? own : [none])]);
}

const timesOf = (row: LatencyRow, full: LatencyRow) =>
  row.totalTokensPerSecond.value / full.totalTokensPerSecond.value;

function ablationTable({ quality }: Summary): string {
  const own = (policy: string | undefined) =>
    quality.find((row) => row.policy === policy && row.budget === ABLATION_BUDGET)?.perplexity;
  const columns: Column<(typeof ABLATIONS)[number]>[] = [
    ['part', ({ part }) => part],
    ['row', ({ row }) => row],
    ['published', ({ perplexity }) => perplexity.toFixed(2)],
    ['policy here', ({ policy }) => policy ?? NONE],
    ['this run', ({ policy }) => estimate(own(policy), figures(4)) || NONE],
  ];
  return table(columns, ABLATIONS);
}

function curveTable({ quality }: Summary): string {
  const publishedOf = ({ policy, budget }: QualityRow) => {
    const known = CURVES[policy];
    return known && Object.hasOwn(known, budget) ? String(known[budget as keyof typeof known]) : NONE;
  };
  const columns: Column<QualityRow>[] = [
    ['policy', ({ policy }) => policy],
    ['budget', ({ budget }) => budget],
    ['published perplexity', (row) => (row.policy === 'full' ? String(CURVES_FULL) : publishedOf(row))],
    ['perplexity', ({ perplexity }) => estimate(perplexity, figures(4)) || NONE],
    ["ROUGE-L, the package's", ({ rougeLUnion }) => estimate(rougeLUnion, share) || NONE],
    ['ROUGE-L', ({ rougeL }) => estimate(rougeL, share) || NONE],
  ];
  return table(columns, quality);
}
