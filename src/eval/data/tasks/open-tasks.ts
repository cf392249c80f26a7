import { ElasticCacheError } from '../../../errors.js';
import { unknown } from '../../../options.js';
import type { DataOptions, Dataset, Sample } from '../dataset.js';
import { seedIn } from '../split.js';
import { MOST_FACTS } from './facts.js';
import { lookups } from './lookups.js';
import { MOST_KEYS, passkey } from './passkey.js';
import { questions } from './questions.js';
import { MOST_EVENTS, summaries } from './summaries.js';
import type { TextSize } from './text-size.js';

/** A task that is generated from a seed; its texts have so many words and items unless told. */
interface GeneratedTask {
  make(seed: number, size: TextSize): Sample;
  words: number;
  items: number;
  mostItems: number;
  /** Whether one item alone is asked for, which then has a depth. */
  one: boolean;
}

const TASKS: Readonly<Record<string, GeneratedTask>> = {
  passkey: { make: passkey, words: 750, items: 1, mostItems: MOST_KEYS, one: true },
  lookups: { make: lookups, words: 500, items: 6, mostItems: MOST_FACTS, one: true },
  questions: { make: questions, words: 500, items: 8, mostItems: MOST_FACTS, one: false },
  summaries: { make: summaries, words: 500, items: 4, mostItems: MOST_EVENTS, one: false },
};

export const taskNames: readonly string[] = Object.keys(TASKS);

const OPTIONS = ['words', 'items', 'depth', 'seed'] as const;
type Option = (typeof OPTIONS)[number];

/** The fewest words that leave a place for every item: a sentence between two of them has up to 26. */
const fewestWords = (items: number) => Math.max(100, 30 * items);

/** Seeds below are for development where the halves are kept apart. */
const HALF = 500_000;

/**
 * The first samples of a generated task: `passkey`, `lookups:words=1500:items=3:depth=50:seed=7`. Samples of one seed and size are always the same; the second
 * of seed 7 is the first of seed 8.
 * @returns undefined when the source names none
 * @throws ElasticCacheError 'invalid-option'
 */
export function openTasks(source: string, { count, split }: DataOptions): Dataset | undefined {
  const [name = '', ...given] = source.split(':');
  const task = Object.hasOwn(TASKS, name) ? TASKS[name] : undefined;
  if (!task) return undefined;
  const { words = task.words, items = task.items, depth, ...rest } = optionsOf(source, given, task);
  checkRange(source, 'items', items, 1, task.mostItems);
  checkRange(source, 'words', words, fewestWords(items), 1_000_000);
  if (depth !== undefined) checkRange(source, 'depth', depth, 0, 100);
  const seed = seedIn(split, rest.seed ?? 1, count, HALF, source);
  const at = depth === undefined ? '' : `:depth=${depth}`;
  return {
    source: `${name}:words=${words}:items=${items}${at}:seed=${seed}`,
    // The tasks are the program's own: they change with its version alone.
    fingerprint: '',
    samples: Array.from({ length: count }, (_, index) => task.make(seed + index, { words, items, depth })),
    broken: [],
  };
}

function optionsOf(
  source: string,
  given: readonly string[],
  { one }: GeneratedTask,
): Partial<Record<Option, number>> {
  const known = OPTIONS.filter((name) => one || name !== 'depth');
  const options: Partial<Record<Option, number>> = {};
  for (const each of given) {
    const [name = '', value = ''] = each.split('=');
    const option = known.find((other) => other === name);
    if (!option)
      throw unknown('invalid-option', `data "${source}" has no option "${name}"`, name, known, 'it takes');
    if (!/^\d{1,9}$/.test(value)) {
      throw new ElasticCacheError(
        'invalid-option',
        `data "${source}": ${option} is a whole number, such as ${option}=${option === 'words' ? 500 : 5}.`,
      );
    }
    options[option] = Number(value);
  }
  return options;
}

function checkRange(source: string, name: Option, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new ElasticCacheError(
    'invalid-option',
    `data "${source}": ${name}=${value} is out of range; give ${least} to ${most}.`,
  );
}
