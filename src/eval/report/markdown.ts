import type { Estimate } from '../intervals.js';
import type { LatencyRow, QualityRow, Summary } from '../summary.js';

/** A column of a table: its head and its cell for a row; empty where it was not measured. */
export type Column<Row> = [head: string, cell: (row: Row) => string];

const QUALITY: Column<QualityRow>[] = [
  ['policy', ({ policy }) => policy],
  ['budget', ({ budget }) => budget],
  ['held', ({ held }) => percent(held, 1)],
  ['perplexity', ({ perplexity }) => estimate(perplexity, figures(4))],
  ['times full', ({ timesFull }) => estimate(timesFull, figures(4))],
  ['mean perplexity', ({ meanPerplexity }) => estimate(meanPerplexity, figures(4))],
  ['ROUGE-1', ({ rouge1 }) => estimate(rouge1, share)],
  ['ROUGE-2', ({ rouge2 }) => estimate(rouge2, share)],
  ['ROUGE-L', ({ rougeL }) => estimate(rougeL, share)],
  ['ROUGE-L, union', ({ rougeLUnion }) => estimate(rougeLUnion, share)],
  ['ROUGE-1, true', ({ trueRouge1 }) => estimate(trueRouge1, share)],
  ['ROUGE-2, true', ({ trueRouge2 }) => estimate(trueRouge2, share)],
  ['ROUGE-L, true', ({ trueRougeL }) => estimate(trueRougeL, share)],
  ['true, of full', ({ trueRougeLOfFull }) => estimate(trueRougeLOfFull, share)],
  ['accuracy', ({ accuracy }) => estimate(accuracy, (value) => percent(value, 1))],
  ['of full', ({ accuracyOfFull }) => estimate(accuracyOfFull, share)],
];

const LATENCY: Column<LatencyRow>[] = [
  ['prompt+output', ({ shape, promptTokens, newTokens }) => shapeOf(shape, promptTokens, newTokens)],
  ['policy', ({ policy }) => policy],
  ['budget', ({ budget }) => budget],
  ['ms per token', ({ msPerToken }) => estimate(msPerToken, figures(3))],
  ['tokens/s', ({ tokensPerSecond }) => estimate(tokensPerSecond, figures(3))],
  ['prefill ms', ({ prefillMs }) => estimate(prefillMs, figures(3))],
  ['s in all', ({ seconds }) => estimate(seconds, figures(3))],
  ['tokens/s in all', ({ totalTokensPerSecond }) => estimate(totalTokensPerSecond, figures(3))],
  ['cache MB', ({ bytesHeld }) => megabytes(bytesHeld)],
  ['peak MB', ({ bytesPeak }) => megabytes(bytesPeak)],
];

/** The tables of a summary in Markdown, with the 95% interval behind each number; only what was measured. */
export function markdownTables({ quality, latency, protocol }: Summary): string {
  const tables: string[] = [];
  const answers = quality.reduce((most, row) => Math.max(most, row.answers), 0);
  const questions = quality.reduce((most, { accuracy }) => Math.max(most, accuracy?.total ?? 0), 0);
  if (quality.length > 0) {
    const later =
      protocol?.question === 'unknown' ? '; each question came after the cache was compressed' : '';
    tables.push(
      table(QUALITY, quality),
      `${answers} answers, ${questions} short ones${later}. In brackets 95% intervals: bootstrap over the samples; Wilson for accuracy with one question a sample.`,
    );
  }
  if (latency.length > 0) {
    const runs = latency.reduce((most, row) => Math.max(most, row.runs), 0);
    tables.push(
      table(LATENCY, latency),
      `Medians of ${runs} runs. In brackets 95% intervals: bootstrap over the runs.`,
    );
  }
  return `${tables.join('\n\n')}\n`;
}

export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const used = columns.filter(([, cell]) => rows.some((row) => cell(row) !== ''));
  const cells = [used.map(([head]) => head), ...rows.map((row) => used.map(([, cell]) => cell(row)))];
  const widths = used.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((text, column) => text.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(cells[0]!), line(widths.map((width) => '-'.repeat(width))), ...cells.slice(1).map(line)].join(
    '\n',
  );
}

export function estimate(of: Estimate | undefined, print: (value: number) => string): string {
  if (of === undefined) return '';
  const { value, low, high } = of;
  return low === null || high === null ? print(value) : `${print(value)} [${print(low)}, ${print(high)}]`;
}

function shapeOf(shape: string, prompt: number, output: number): string {
  return shape.replace(/^own/, `own, about ${Math.round(prompt)}+${Math.round(output)}`);
}

/** To so many significant figures, but never in powers of ten. */
export const figures = (count: number) => (value: number) =>
  Number(value.toPrecision(count)) >= 10 ** count ? value.toFixed(0) : value.toPrecision(count);
export const share = (value: number) => value.toFixed(3);
const percent = (value: number, digits: number) => `${(100 * value).toFixed(digits)}%`;
const megabytes = (bytes: number) => String(Number((bytes / 1e6).toPrecision(3)));
