import type { Random } from '../../../random.js';
import type { Task } from '../dataset.js';
import {
  ANIMALS,
  CITIES,
  COLOURS,
  DAYS,
  FIRST_NAMES,
  FOODS,
  JOBS,
  LAST_NAMES,
  MONTHS,
  THINGS,
  TREES,
} from './words.js';

const ANSWER_TOKENS = 16;

/** What a text states, what is asked, and how an answer is begun: the statement is "<begun> <answer>.". */
export interface Fact {
  readonly question: string;
  readonly begun: string;
  readonly answer: string;
}

const two = (random: Random, from: readonly string[], between: string) =>
  random.shuffle(from).slice(0, 2).join(between);

/** Every answer is of two words that are drawn apart, so that a guess is hardly ever right. */
const KINDS: readonly { question: string; begun: string; answer: (random: Random) => string }[] = [
  {
    question: 'What is the name of the librarian?',
    begun: 'The name of the librarian is',
    answer: (random) => `${random.pick(FIRST_NAMES)} ${random.pick(LAST_NAMES)}`,
  },
  {
    question: 'What are the colours of the front door?',
    begun: 'The colours of the front door are',
    answer: (random) => two(random, COLOURS, ' and '),
  },
  {
    question: 'Which animals are on the flag?',
    begun: 'The animals on the flag are a',
    answer: (random) => two(random, ANIMALS, ' and a '),
  },
  {
    question: 'Where and when is the next meeting?',
    begun: 'The next meeting is in',
    answer: (random) => `${random.pick(CITIES)} on ${random.pick(DAYS)}`,
  },
  {
    question: 'What are the secret words?',
    begun: 'The secret words are',
    answer: (random) => two(random, THINGS, ' and '),
  },
  {
    question: 'Which cities does the parcel go to?',
    begun: 'The parcel goes to',
    answer: (random) => two(random, CITIES, ' and '),
  },
  {
    question: 'What do the guests eat?',
    begun: 'The guests eat',
    answer: (random) => two(random, FOODS, ' and '),
  },
  {
    question: 'Which trees grow in the park?',
    begun: 'The trees in the park are the',
    answer: (random) => two(random, TREES, ' and the '),
  },
  {
    question: 'Who won the race?',
    begun: 'The race was won by a',
    answer: (random) => `${random.pick(JOBS)} from ${random.pick(CITIES)}`,
  },
  {
    question: 'In which months is the museum closed?',
    begun: 'The museum is closed in',
    answer: (random) => two(random, MONTHS, ' and '),
  },
  {
    question: 'What is on the table?',
    begun: 'On the table there is a',
    answer: (random) => `${random.pick(COLOURS)} ${random.pick(THINGS)}`,
  },
  {
    question: 'Who wrote the letter?',
    begun: 'The letter was written by',
    answer: (random) => `${random.pick(FIRST_NAMES)} ${random.pick(LAST_NAMES)}`,
  },
];

export const MOST_FACTS = KINDS.length;

/** The first `count` kinds of facts, each with an answer of chance. */
export function factsOf(random: Random, count: number): Fact[] {
  return KINDS.slice(0, count).map(({ question, begun, answer }) => ({
    question,
    begun,
    answer: answer(random),
  }));
}

export function statement({ begun, answer }: Fact): string {
  return `${begun} ${answer}.`;
}

/** A fact as it is asked for. */
export function askedFor({ question, begun, answer }: Fact, name: string): Task {
  return {
    name,
    prompt: question,
    begun,
    reference: answer,
    accepted: [[answer]],
    among: true,
    maxNewTokens: ANSWER_TOKENS,
  };
}
