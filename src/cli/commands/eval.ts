import { createHash } from 'node:crypto';
import { basename, join, resolve } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { cellsOf } from '../../eval/cells.js';
import type { BrokenRecord, Dataset } from '../../eval/data/dataset.js';
import { PRESETS, type PresetName, type Protocol, STRICT, SYSTEM_PROMPTS } from '../../eval/data/protocol.js';
import type { Split } from '../../eval/data/split.js';
import { claimFolder, hashModel, type Manifest } from '../../eval/manifest.js';
import type { Shape } from '../../eval/metrics/latency.js';
import { missing } from '../../eval/metrics/measurable.js';
import { METRICS, type Metric } from '../../eval/metrics/names.js';
import { markdownTables } from '../../eval/report/markdown.js';
import { paperTables } from '../../eval/report/paper-tables.js';
import { writeReport } from '../../eval/report/write-report.js';
import { ResultsFile } from '../../eval/results.js';
import { summarise } from '../../eval/summary.js';
import { type DealtSample, dealtSweep, type Measured } from '../../eval/sweep/dealt-sweep.js';
import { type SweepOptions, type SweepProgress, sweep } from '../../eval/sweep/sweep.js';
import { embeddedModel } from '../../models/embedded.js';
import { JobQueue } from '../../queue/job-queue.js';
import { openScenesOrFile } from '../bundled/scenes.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { NamedBudget } from '../options/option-values.js';
import { policyOf } from '../options/policy-file.js';
import { Progress } from '../terminal/progress.js';
import { SweepBar } from '../terminal/sweep-bar.js';
import { version } from '../version.js';

export interface EvalOptions extends ModelOptions, Partial<Protocol> {
  data: string;
  images?: string;
  split?: Split;
  promptTokens?: number;
  policies: string[];
  budgets: NamedBudget[];
  protocol?: PresetName;
  metrics: Metric[];
  samples: number;
  lengths: Shape['lengths'][];
  batchSizes: number[];
  maxNewTokens: number;
  onError: 'skip' | 'stop';
  queue?: string;
  expireSeconds: number;
  out: string;
  tables?: true;
  json?: true;
}

/**
 * Measures policies and budgets on a data set: a line for each into `--out` as it is known, and reports when all are. The same
 * command goes on where an earlier run stopped.
 */
export async function evaluate(options: EvalOptions): Promise<void> {
  const { data, images, split, promptTokens, samples, out, json } = options;
  refuseTimes(options);
  const model = options.model ?? embeddedModel();
  const protocol = protocolOf(options);
  const dataset = await openScenesOrFile(data, { count: samples, images, split, promptTokens });
  const skipped: BrokenRecord[] = [];
  const onBroken = (record: BrokenRecord) => {
    const name = /^(record|scene) /.test(record.name) ? record.name : `record ${record.name}`;
    const place = record.line === undefined ? data : `${data}:${record.line}`;
    const what = `${name} of ${place} is broken: ${record.reason}`;
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
  if (dataset.samples.length === 0) throw noneMeasured(data);
  tellMissing(options, dataset);
  const modelHash = await hashModel(model);
  const manifest = {
    model: modelHash ? resolve(model) : model,
    modelHash,
    dtype: options.dtype ?? '',
    device: options.device ?? '',
    chunk: options.chunk ?? 0,
    peak: options.peak ?? 'prompt',
    accuracyLevel: Number(options.accuracyLevel ?? 0),
    data: dataset.source,
    dataHash: dataset.fingerprint,
    images: images === undefined ? '' : resolve(images),
    split: split ?? '',
    promptTokens: promptTokens ?? 0,
    ...protocol,
    system: protocol.system ?? '',
    metrics: options.metrics.toSorted().join(),
    maxNewTokens: options.maxNewTokens,
    version: version(),
  };
  await claimFolder(out, manifest);
  const results = await ResultsFile.open(join(out, 'results.jsonl'));
  const cells = cellsOf(await Promise.all(options.policies.map((spec) => policyOf(spec))), options.budgets);
  const shapes = options.lengths.flatMap((lengths) =>
    options.batchSizes.map((batch) => ({ lengths, batch })),
  );
  const loaded = await loadWithProgress(model, options, new Progress());
  const bar = new SweepBar();
  process.prependOnceListener('SIGINT', () => {
    bar.end();
    process.stderr.write(`stopped; the same command goes on from what is in ${out}.\n`);
  });
  try {
    const asked = {
      loaded,
      dataset,
      cells,
      metrics: new Set(options.metrics),
      protocol,
      shapes,
      maxNewTokens: options.maxNewTokens,
      results,
      onBroken: (record: BrokenRecord) => {
        bar.end();
        onBroken(record);
      },
      onProgress: (progress: SweepProgress) => bar.at(progress),
    };
    if (options.queue === undefined) await sweep(asked);
    else await dealt(asked, options, runOf(manifest, asked));
  } finally {
    bar.end();
  }
  const names = new Set(dataset.samples.map(({ name }) => name));
  // A record may break in the midst: what was measured of it before is not compared.
  for (const { name } of skipped) names.delete(name);
  const lines = results.lines.filter(({ sample }) => names.has(sample));
  const summary = { ...summarise(lines, cells, shapes), protocol };
  if (summary.quality.length + summary.latency.length === 0) throw noneMeasured(data);
  const paper = options.tables ? paperTables(summary, basename(model)) : undefined;
  await writeReport(out, summary, skipped, paper);
  process.stdout.write(
    json
      ? `${JSON.stringify({ ...summary, skipped })}\n`
      : [markdownTables(summary), paper].filter(Boolean).join('\n'),
  );
}

/** With others that run the same. */
async function dealt(
  asked: SweepOptions,
  { queue: address, expireSeconds }: EvalOptions,
  run: string,
): Promise<void> {
  const warn = (error: Error) => process.stderr.write(`queue: ${error.message}\n`);
  const kind = { jobs: `eval-${run}`, table: 'measured' };
  const queue = await JobQueue.open<DealtSample, Measured>(address!, kind, warn);
  try {
    const own = await dealtSweep(asked, { queue, run, expireSeconds });
    process.stderr.write(`\n${own} of ${asked.dataset.samples.length} samples measured here\n`);
  } finally {
    await queue.close();
  }
}

/** A hash of all that decides what is measured; where the model and the data lie on a machine does not. */
function runOf(
  { model, modelHash, data: _data, images: _images, ...rest }: Manifest,
  asked: SweepOptions,
): string {
  const cells = asked.cells.map(({ policy, budget }) => [policy, budget.name]);
  const names = asked.dataset.samples.map(({ name }) => name);
  const all = JSON.stringify([modelHash || model, rest, cells, names]);
  return createHash('sha256').update(all).digest('hex').slice(0, 32);
}

/** Times of several machines are not one measurement. @throws ElasticCacheError 'invalid-option' */
function refuseTimes({ queue, metrics }: EvalOptions): void {
  if (queue === undefined || !metrics.includes('latency')) return;
  throw new ElasticCacheError(
    'invalid-option',
    '--queue deals out samples to several machines, whose times are not one measurement; leave latency out of --metrics, such as --metrics ppl,rouge.',
  );
}

/** What is measured as: a paper's protocol if one is named, and what is given beside it. */
function protocolOf(options: EvalOptions): Protocol {
  const given = Object.fromEntries(
    (Object.keys({ ...STRICT, system: '' }) as (keyof Protocol)[])
      .filter((name) => options[name] !== undefined)
      .map((name) => [name, options[name]]),
  );
  const protocol: Protocol = { ...STRICT, ...(options.protocol && PRESETS[options.protocol]), ...given };
  const { system } = protocol;
  const named = system !== undefined && Object.hasOwn(SYSTEM_PROMPTS, system);
  return named ? { ...protocol, system: SYSTEM_PROMPTS[system as keyof typeof SYSTEM_PROMPTS] } : protocol;
}

/** Says which of the metrics the data cannot give; without any other there is nothing to run for. */
function tellMissing({ data, metrics }: EvalOptions, { samples }: Dataset): void {
  const lacks = missing(metrics, samples);
  if (lacks.length === 0) return;
  const what = `${lacks.join(' and ')}, which no record of ${data} has (${samples.length} read)`;
  if (lacks.length === metrics.length) {
    throw new ElasticCacheError(
      'invalid-option',
      `${what}; choose other --metrics (${METRICS.join(', ')}), other data, or more --samples.`,
    );
  }
  process.stderr.write(`not measured: ${what}\n`);
}

function noneMeasured(data: string): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-data',
    `no record of ${data} could be measured, as said above; mend them or choose other data.`,
  );
}
