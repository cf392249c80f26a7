import { ElasticCacheError } from '../../errors.js';
import type { LoadedModel } from '../../models/loaded-model.js';
import { PromptTurns } from '../../models/measuring/prompt-turns.js';
import { SharedPrompts } from '../../models/measuring/shared-prompts.js';
import { Random } from '../../random.js';
import { type CacheCell, REFERENCE } from '../cells.js';
import type { BrokenRecord, Dataset, Sample, Task } from '../data/dataset.js';
import type { Protocol } from '../data/protocol.js';
import { reasonOf } from '../data/record.js';
import { measureLatency, type Shape, shapeName } from '../metrics/latency.js';
import { counts } from '../metrics/measurable.js';
import { LATENCY, type Metric } from '../metrics/names.js';
import type { LineTable, ResultKey } from '../results.js';
import { type Prepared, prepareSample } from './prepare-sample.js';
import { measureQuality } from './quality.js';

export interface SweepOptions {
  loaded: LoadedModel;
  dataset: Dataset;
  /** The first is {@link REFERENCE}. */
  cells: readonly CacheCell[];
  metrics: ReadonlySet<Metric>;
  protocol: Protocol;
  /** What latency is measured on. */
  shapes: readonly Shape[];
  maxNewTokens: number;
  results: LineTable;
  /** Told of a sample that cannot be asked about; throws to end the sweep there. */
  onBroken: (record: BrokenRecord) => void;
  onProgress: (progress: SweepProgress) => void;
}

export interface SweepProgress {
  /** Lines known, those of earlier runs included, of lines wanted. */
  done: number;
  total: number;
  /** Lines of earlier runs, which took no time now. */
  found: number;
  sample: string;
}

/** A line that is still to be made. */
type Job = { cell: CacheCell } & ({ task: Task } | { shape: Shape });

/** Errors of a sample, one that is too long for the model included, as against those of a model or a disk that fails. */
const OF_SAMPLE = ['invalid-image', 'missing-file', 'invalid-prompt', 'context-full'];
const isOfSample = (error: unknown) => error instanceof ElasticCacheError && OF_SAMPLE.includes(error.code);

/**
 * Runs every policy and budget on every sample, sample by sample, and appends a line to the results for each. Lines that are
 * there already are not made again.
 */
export async function sweep(options: SweepOptions): Promise<void> {
  const { loaded, dataset, results, onBroken, onProgress } = options;
  const shared = new SharedPrompts(loaded);
  const warm = new Set<string>();
  const plans = dataset.samples.map((sample, index) => ({ sample, jobs: jobsOf(sample, index, options) }));
  const open = plans.map(({ sample, jobs }) => ({
    sample,
    jobs: jobs.filter((job) => !results.get(keyOf(sample, job))),
  }));
  const count = (list: typeof plans) => list.reduce((sum, { jobs }) => sum + jobs.length, 0);
  let total = count(plans);
  const found = total - count(open);
  let done = found;
  for (const { sample, jobs } of open) {
    if (jobs.length === 0) continue;
    const before = done;
    onProgress({ done, total, found, sample: sample.name });
    try {
      const prepared = await prepareSample(loaded, sample, options.protocol);
      const turns = new PromptTurns(loaded);
      for (const job of jobs) {
        const key = keyOf(sample, job);
        const measured =
          'task' in job
            ? await shared.during(() =>
                measureQuality({ ...options, ...job, ...prepared, turns, fullText: fullText(results, key) }),
              )
            : { latency: await timed(options, warm, job, prepared) };
        results.append({ ...key, ...measured });
        done++;
        onProgress({ done, total, found, sample: sample.name });
      }
    } catch (error) {
      if (!isOfSample(error)) throw error;
      onBroken({ name: sample.name, reason: reasonOf(error), line: sample.line });
      total -= jobs.length - (done - before);
    }
  }
}

/**
 * All lines of a sample: each task with the full cache first; what is timed in an order of chance, so that no drift favours any. What is next to one another shares its reading:
 * a prompt is read once for all caches, and what comes before the questions is compressed once for all of them.
 */
function jobsOf(sample: Sample, index: number, { cells, metrics, protocol, shapes }: SweepOptions): Job[] {
  const asked = sample.tasks.filter((task) => [...metrics].some((metric) => counts(metric, task)));
  const random = new Random(index, 6);
  return [
    ...(protocol.question === 'known'
      ? asked.flatMap((task) => cells.map((cell) => ({ cell, task })))
      : cells.flatMap((cell) => asked.map((task) => ({ cell, task })))),
    ...(metrics.has('latency')
      ? shapes.flatMap((shape) => random.shuffle(cells).map((cell) => ({ cell, shape })))
      : []),
  ];
}

function keyOf(sample: Sample, job: Job): ResultKey {
  const task = 'task' in job ? job.task.name : `${LATENCY}${shapeName(job.shape)}`;
  return { sample: sample.name, task, policy: job.cell.policy, budget: job.cell.budget.name };
}

/** The answer with the full cache, once it is known. */
function fullText(results: LineTable, key: ResultKey): string | undefined {
  return results.get({ ...key, policy: REFERENCE.policy, budget: REFERENCE.budget.name })?.text;
}

async function timed(
  { loaded }: SweepOptions,
  warm: Set<string>,
  { shape, cell }: { shape: Shape; cell: CacheCell },
  prepared: Prepared,
) {
  const run = ({ cachePolicy, budget }: CacheCell) =>
    measureLatency(loaded, prepared.timed.inputs, prepared.timed.output, shape, {
      policy: cachePolicy,
      budget: budget.budget,
    });
  const name = shapeName(shape);
  try {
    // The first run of a shape pays for memory that later ones find allocated.
    if (!warm.has(name)) await run(REFERENCE);
    warm.add(name);
    return await run(cell);
  } catch (cause) {
    if (shape.lengths === undefined || !isOfSample(cause)) throw cause;
    // Lengths that were asked for are too long for every sample.
    throw new ElasticCacheError(
      'invalid-option',
      `${name} cannot be timed: ${reasonOf(cause)}; give shorter --lengths.`,
      { cause },
    );
  }
}
