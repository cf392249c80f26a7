import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BrokenRecord } from '../data/dataset.js';
import type { Summary } from '../summary.js';
import { latencyChart, qualityChart } from './charts.js';
import { csv } from './csv.js';
import { markdownTables } from './markdown.js';

/** Writes `table.md`, `table.csv`, `summary.json`, and of what was measured `quality.svg` and `latency.svg`. */
export async function writeReport(
  folder: string,
  summary: Summary,
  skipped: readonly BrokenRecord[],
): Promise<void> {
  const files: Record<string, string | undefined> = {
    'table.md': markdownTables(summary),
    'table.csv': csv(summary),
    'summary.json': `${JSON.stringify({ ...summary, skipped }, null, 2)}\n`,
    'quality.svg': qualityChart(summary),
    'latency.svg': latencyChart(summary),
  };
  for (const [name, content] of Object.entries(files)) {
    // A chart of an earlier run must not stand beside tables of this one.
    if (content === undefined) await rm(join(folder, name), { force: true });
    else await writeFile(join(folder, name), content);
  }
}
