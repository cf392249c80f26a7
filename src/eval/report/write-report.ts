import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BrokenRecord } from '../data/dataset.js';
import { refused } from '../disk.js';
import type { Summary } from '../summary.js';
import { latencyChart, qualityChart } from './charts.js';
import { csv } from './csv.js';
import { markdownTables } from './markdown.js';

/** Writes `table.md`, `table.csv`, `summary.json`, of what was measured `quality.svg` and `latency.svg`, and if asked `paper.md`: the paper's tables. Throws as {@link refused} says. */
export async function writeReport(
  folder: string,
  summary: Summary,
  skipped: readonly BrokenRecord[],
  paper?: string,
): Promise<void> {
  const files: Record<string, string | undefined> = {
    'table.md': markdownTables(summary),
    'table.csv': csv(summary),
    'paper.md': paper,
    'summary.json': `${JSON.stringify({ ...summary, skipped }, null, 2)}\n`,
    'quality.svg': qualityChart(summary),
    'latency.svg': latencyChart(summary),
  };
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    // A chart of an earlier run must not stand beside tables of this one.
    const change = content === undefined ? rm(path, { force: true }) : writeFile(path, content);
    await change.catch(refused(path, 'written'));
  }
}
