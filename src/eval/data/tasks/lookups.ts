import { Random } from '../../../random.js';
import type { Sample } from '../dataset.js';
import { filler, hidden } from './filler.js';

const ANSWER_TOKENS = 16;

const FIRST = [
  'Anna',
  'Boris',
  'Clara',
  'Daniel',
  'Edith',
  'Felix',
  'Gloria',
  'Harold',
  'Ida',
  'Jakob',
  'Lena',
  'Martin',
  'Nora',
  'Oscar',
  'Paula',
  'Rupert',
];
const LAST = [
  'Archer',
  'Bennett',
  'Cooper',
  'Dawson',
  'Ellis',
  'Foster',
  'Graham',
  'Harris',
  'Jenkins',
  'Lawson',
  'Morris',
  'Palmer',
  'Reed',
  'Sutton',
];
const COLOURS = ['red', 'blue', 'green', 'yellow', 'purple', 'orange', 'black', 'white', 'brown', 'pink'];
const ANIMALS = ['horse', 'rabbit', 'goat', 'turtle', 'duck', 'lion', 'tiger', 'bear', 'wolf', 'eagle'];
const CITIES = [
  'Paris',
  'London',
  'Berlin',
  'Madrid',
  'Rome',
  'Vienna',
  'Oslo',
  'Dublin',
  'Athens',
  'Prague',
  'Lisbon',
  'Boston',
];
const DAYS = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];
const THINGS = [
  'hammer',
  'candle',
  'bottle',
  'mirror',
  'basket',
  'ladder',
  'pillow',
  'button',
  'needle',
  'anchor',
];

const two = (random: Random, from: readonly string[], between: string) =>
  random.shuffle(from).slice(0, 2).join(between);

/** What is stated, what is asked, and what is stated of it: the statement is "<begun> <answer>.". */
const FACTS: readonly { question: string; begun: string; answer: (random: Random) => string }[] = [
  {
    question: 'What is the name of the librarian?',
    begun: 'The name of the librarian is',
    answer: (random) => `${random.pick(FIRST)} ${random.pick(LAST)}`,
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
];

/** Six facts in a text of about `words` words, one of which is asked for at its end. */
export function lookups(seed: number, words: number): Sample {
  const random = new Random(seed, 22);
  const facts = FACTS.map(({ question, begun, answer }) => ({ question, begun, answer: answer(random) }));
  const stated = facts.map(({ begun, answer }) => `${begun} ${answer}.`);
  const text = hidden(random, filler(random, words), stated);
  const { question, begun, answer } = random.pick(facts);
  return {
    name: `lookups ${seed}`,
    tasks: [
      {
        name: 'lookup',
        prompt: `Read the following text and answer the question.\n\n${text}\n\n${question}`,
        begun,
        reference: answer,
        accepted: [[answer]],
        among: true,
        maxNewTokens: ANSWER_TOKENS,
      },
    ],
  };
}
