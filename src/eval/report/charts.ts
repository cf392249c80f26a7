import type { Estimate } from '../intervals.js';
import type { LatencyRow, QualityRow, Summary } from '../summary.js';
import { linesSvg, type Panel } from './lines-svg.js';

type Point = { policy: string; budget: string };

/** Perplexity, both ROUGE-L and accuracy against the budget, those that were measured; undefined where nothing was. */
export function qualityChart({ quality }: Summary): string | undefined {
  const panels = [
    panel('Perplexity of the true answer (log scale)', quality, (row) => row.perplexity, true),
    panel('ROUGE-L against the answer with the full cache', quality, (row) => row.rougeL),
    panel('ROUGE-L against the true answer', quality, (row) => row.trueRougeL),
    panel('Short answers right', quality, (row) => row.accuracy),
  ].flatMap((one) => one ?? []);
  return panels.length > 0 ? linesSvg('Quality against budget', panels) : undefined;
}

/** Time and memory against the budget, for each shape; undefined where nothing was timed. */
export function latencyChart({ latency }: Summary): string | undefined {
  const megabytes = (bytes: number): Estimate => ({ value: bytes / 1e6, low: null, high: null });
  const panels = [...new Set(latency.map(({ shape }) => shape))].flatMap((shape) => {
    const rows = latency.filter((row) => row.shape === shape);
    return [
      panel<LatencyRow>(`Milliseconds per token, ${shape}`, rows, (row) => row.msPerToken),
      panel<LatencyRow>(`Cache at the end, MB, ${shape}`, rows, (row) => megabytes(row.bytesHeld)),
    ].flatMap((one) => one ?? []);
  });
  return panels.length > 0 ? linesSvg('Time and memory against budget', panels) : undefined;
}

function panel<Row extends Point = QualityRow>(
  title: string,
  rows: readonly Row[],
  measure: (row: Row) => Estimate | undefined,
  log = false,
): Panel | undefined {
  const measured = rows.flatMap((row) => {
    const estimate = measure(row);
    return estimate ? [{ policy: row.policy, budget: row.budget, estimate }] : [];
  });
  const full = measured.find(({ policy }) => policy === 'full')?.estimate.value;
  const policies = [...new Set(measured.map(({ policy }) => policy))].filter((policy) => policy !== 'full');
  const series = policies.map((name) => ({
    name,
    points: measured.filter(({ policy }) => policy === name),
  }));
  // The full cache alone has nothing to be drawn against.
  return series.length > 0 ? { title, log, full, series } : undefined;
}
