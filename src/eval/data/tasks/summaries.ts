import { Random } from '../../../random.js';
import type { Sample } from '../dataset.js';
import { filler, READ } from './filler.js';
import type { TextSize } from './text-size.js';
import { BUILDINGS, CITIES, COLOURS, DAYS, FIRST_NAMES, JOBS, THINGS } from './words.js';

export const MOST_EVENTS = DAYS.length;

const EVENTS: readonly ((random: Random) => string)[] = [
  (random) => `${random.pick(FIRST_NAMES)} opened a ${random.pick(BUILDINGS)} in ${random.pick(CITIES)}`,
  (random) =>
    `the ${random.pick(JOBS)} sold a ${random.pick(COLOURS)} ${random.pick(THINGS)} to ${random.pick(FIRST_NAMES)}`,
  (random) => `a ${random.pick(BUILDINGS)} in ${random.pick(CITIES)} was painted ${random.pick(COLOURS)}`,
  (random) => `${random.pick(FIRST_NAMES)} became a ${random.pick(JOBS)} in ${random.pick(CITIES)}`,
];

/**
 * The events of some days, one a day, each with much around it that does not matter. The true summary is the sentences of the events, in their order: what can be said of a text
 * that nobody wrote.
 */
export function summaries(seed: number, { words, items }: TextSize): Sample {
  const random = new Random(seed, 24);
  const days = DAYS.slice(0, items);
  const events = days.map((day) => `On ${day}, ${random.pick(EVENTS)(random)}.`);
  const text = events.map((event) => [event, ...filler(random, words / items)].join(' ')).join('\n\n');
  const begun = `On ${days[0]},`;
  return {
    name: `summaries ${seed}`,
    context: `${READ}\n\n${text}`,
    tasks: [
      {
        name: 'summary',
        prompt: 'Summarise the text: say in one sentence for each day what happened to whom.',
        begun,
        reference: events.join(' ').slice(begun.length).trim(),
        maxNewTokens: 24 * items,
      },
    ],
  };
}
