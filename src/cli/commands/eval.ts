import { join, resolve } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { cellsOf } from '../../eval/cells.js';
import type { BrokenRecord } from '../../eval/data/dataset.js';
import { openDataset } from '../../eval/data/open-dataset.js';
import { claimFolder, hashModel } from '../../eval/manifest.js';
import type { Shape } from '../../eval/metrics/latency.js';
import type { Metric } from '../../eval/metrics/names.js';
import { markdownTables } from '../../eval/report/markdown.js';
import { writeReport } from '../../eval/report/write-report.js';
import { ResultsFile } from '../../eval/results.js';
import { summarise } from '../../eval/summary.js';
import { sweep } from '../../eval/sweep.js';
import { modelOrEmbedded } from '../embedded.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { NamedBudget } from '../option-values.js';
import { Progress } from '../progress.js';
import { SweepBar } from '../sweep-bar.js';
import { version } from '../version.js';

export interface EvalOptions extends ModelOptions {
  data: string;
  images?: string;
  policies: string[];
  budgets: NamedBudget[];
  metrics: Metric[];
  samples: number;
  lengths: Shape['lengths'][];
  batchSizes: number[];
  maxNewTokens: number;
  onError: 'skip' | 'stop';
  out: string;
  json?: true;
}

/**
 * Measures policies and budgets on a data set: a line for each into `--out` as it is known, and reports when all are. The same
 * command goes on where an earlier run stopped.
 */
export async function evaluate(options: EvalOptions): Promise<void> {
  const { data, images, samples, out, json } = options;
  const model = modelOrEmbedded(options.model);
  const dataset = await openDataset(data, samples, images);
  const skipped: BrokenRecord[] = [];
  const onBroken = (record: BrokenRecord) => {
    const what = `record ${record.name} of ${data} is broken: ${record.reason}`;
    if (options.onError === 'stop') {
      throw new ElasticCacheError(
        'invalid-data',
        `${what}; mend it, or leave such out with --on-error skip.`,
      );
    }
    skipped.push(record);
    process.stderr.write(`skipped: ${what}\n`);
  };
  dataset.broken.forEach(onBroken);
  const modelHash = await hashModel(model);
  await claimFolder(out, {
    model: modelHash ? resolve(model) : model,
    modelHash,
    dtype: options.dtype ?? '',
    device: options.device ?? '',
    chunk: options.chunk ?? 0,
    data: dataset.source,
    dataHash: dataset.fingerprint,
    images: images === undefined ? '' : resolve(images),
    metrics: options.metrics.toSorted().join(),
    maxNewTokens: options.maxNewTokens,
    version: version(),
  });
  const results = await ResultsFile.open(join(out, 'results.jsonl'));
  const cells = cellsOf(options.policies, options.budgets);
  const loaded = await loadWithProgress(model, options, new Progress());
  const bar = new SweepBar();
  process.prependOnceListener('SIGINT', () => {
    bar.end();
    process.stderr.write(`stopped; the same command goes on from what is in ${out}.\n`);
  });
  try {
    await sweep({
      loaded,
      dataset,
      cells,
      metrics: new Set(options.metrics),
      shapes: options.lengths.flatMap((lengths) => options.batchSizes.map((batch) => ({ lengths, batch }))),
      maxNewTokens: options.maxNewTokens,
      results,
      onBroken: (record) => {
        bar.end();
        onBroken(record);
      },
      onProgress: (progress) => bar.at(progress),
    });
  } finally {
    bar.end();
  }
  const names = new Set(dataset.samples.map(({ name }) => name));
  const summary = summarise(
    results.lines.filter(({ sample }) => names.has(sample)),
    cells,
  );
  await writeReport(out, summary, skipped);
  process.stdout.write(json ? `${JSON.stringify({ ...summary, skipped })}\n` : markdownTables(summary));
}
