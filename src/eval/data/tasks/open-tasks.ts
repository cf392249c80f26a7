import { ElasticCacheError } from '../../../errors.js';
import { unknown } from '../../../options.js';
import type { Dataset, Sample } from '../dataset.js';
import { lookups } from './lookups.js';
import { passkey } from './passkey.js';

/** Tasks that are generated from a seed, and how many words their texts have unless told; a word is 1.2 to 1.4 tokens. */
const TASKS: Readonly<Record<string, { make: (seed: number, words: number) => Sample; words: number }>> = {
  passkey: { make: passkey, words: 750 },
  lookups: { make: lookups, words: 500 },
};

export const taskNames: readonly string[] = Object.keys(TASKS);

const OPTIONS = ['words', 'seed'] as const;
type Option = (typeof OPTIONS)[number];

/** The fewest words that leave a place for every fact. */
const FEWEST_WORDS = 100;

/**
 * `count` samples of a generated task: `passkey`, `lookups:words=1500:seed=7`. Samples of one seed and length are always the same; the second
 * of seed 7 is the first of seed 8.
 * @returns undefined when the source names none
 * @throws ElasticCacheError 'invalid-option'
 */
export function openTasks(source: string, count: number): Dataset | undefined {
  const [name = '', ...given] = source.split(':');
  const task = Object.hasOwn(TASKS, name) ? TASKS[name] : undefined;
  if (!task) return undefined;
  const { words = task.words, seed = 1 } = optionsOf(source, given);
  if (words < FEWEST_WORDS) {
    throw new ElasticCacheError(
      'invalid-option',
      `data "${source}": words are ${FEWEST_WORDS} at least, for a place for every fact.`,
    );
  }
  return {
    source: `${name}:words=${words}:seed=${seed}`,
    // The tasks are the program's own: they change with its version alone.
    fingerprint: '',
    samples: Array.from({ length: count }, (_, index) => task.make(seed + index, words)),
    broken: [],
  };
}

function optionsOf(source: string, given: readonly string[]): Partial<Record<Option, number>> {
  const options: Partial<Record<Option, number>> = {};
  for (const each of given) {
    const [name = '', value = ''] = each.split('=');
    const option = OPTIONS.find((known) => known === name);
    if (!option)
      throw unknown('invalid-option', `data "${source}" has no option "${name}"`, name, OPTIONS, 'it takes');
    if (!/^\d{1,9}$/.test(value)) {
      throw new ElasticCacheError(
        'invalid-option',
        `data "${source}": ${option} is a whole number, such as ${option}=500.`,
      );
    }
    options[option] = Number(value);
  }
  return options;
}
