import type { Sample, Task } from '../data/dataset.js';
import type { Metric } from './names.js';

/** What a task must have for a metric, as people call it; time is taken of any. */
const NEEDED: Record<Metric, { has: (task: Task) => unknown; words: string } | undefined> = {
  ppl: { has: ({ reference, continuation }) => reference ?? continuation, words: 'a true answer' },
  rouge: { has: ({ reference }) => reference, words: 'a true answer' },
  'rouge-l-union': { has: ({ reference }) => reference, words: 'a true answer' },
  'rouge-true': { has: ({ reference }) => reference, words: 'a true answer' },
  accuracy: { has: ({ accepted }) => accepted, words: 'short answers' },
  latency: undefined,
};

/** Whether an answer to a task counts for a metric. */
export function counts(metric: Metric, task: Task): boolean {
  const needed = NEEDED[metric];
  return needed !== undefined && needed.has(task) !== undefined;
}

/** The metrics for which no sample has what they need, and what that is: `accuracy needs short answers`. */
export function missing(metrics: readonly Metric[], samples: readonly Sample[]): string[] {
  const tasks = samples.flatMap((sample) => sample.tasks);
  return metrics.flatMap((metric) => {
    const needed = NEEDED[metric];
    if (needed === undefined || tasks.some((task) => counts(metric, task))) return [];
    return [`${metric} needs ${needed.words}`];
  });
}
