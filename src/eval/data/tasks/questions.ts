import { Random } from '../../../random.js';
import type { Sample } from '../dataset.js';
import { askedFor, factsOf, statement } from './facts.js';
import { filler, hidden, READ } from './filler.js';
import type { TextSize } from './text-size.js';

/** Some facts in a long text, all of which are asked for, each by itself: what is kept of the text must serve every question. */
export function questions(seed: number, { words, items }: TextSize): Sample {
  const random = new Random(seed, 23);
  const facts = factsOf(random, items);
  const text = hidden(random, filler(random, words), random.shuffle(facts.map(statement)));
  return {
    name: `questions ${seed}`,
    context: `${READ}\n\n${text}`,
    tasks: facts.map((fact, index) => askedFor(fact, `question ${index + 1}`)),
  };
}
