import type { Estimate } from '../intervals.js';
import type { Summary } from '../summary.js';

const LATENCY = [
  'prefillMs',
  'msPerToken',
  'tokensPerSecond',
  'seconds',
  'totalTokensPerSecond',
  'bytesHeld',
  'bytesPeak',
] as const;

type Row = [policy: string, budget: string, shape: string, metric: string, Estimate, samples: number];

/** A summary as CSV (RFC 4180), one measure a line: what spreadsheets and plotting libraries pivot from. */
export function csv({ quality, latency }: Summary): string {
  const certain = (value: number): Estimate => ({ value, low: null, high: null });
  const rows: Row[] = [];
  for (const { policy, budget, answers, held, asked, accuracy, accuracyOfFull, ...measures } of quality) {
    rows.push([policy, budget, '', 'held', certain(held), asked]);
    for (const [name, estimate] of Object.entries(measures)) {
      rows.push([policy, budget, '', name, estimate, answers]);
    }
    if (accuracy) rows.push([policy, budget, '', 'accuracy', accuracy, accuracy.total]);
    if (accuracyOfFull)
      rows.push([policy, budget, '', 'accuracyOfFull', accuracyOfFull, accuracy?.total ?? 0]);
  }
  for (const row of latency) {
    for (const name of LATENCY) {
      const measure = row[name];
      const estimate = typeof measure === 'number' ? certain(measure) : measure;
      rows.push([row.policy, row.budget, row.shape, name, estimate, row.runs]);
    }
  }
  const lines = rows.map(([policy, budget, shape, metric, { value, low, high }, samples]) =>
    [policy, budget, shape, metric, value, low ?? '', high ?? '', samples].map(quoted).join(','),
  );
  return ['policy,budget,shape,metric,value,low,high,samples', ...lines, ''].join('\r\n');
}

function quoted(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
