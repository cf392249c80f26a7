import { Random } from '../../../random.js';
import type { Sample } from '../dataset.js';
import { askedFor, factsOf, statement } from './facts.js';
import { filler, hidden, READ } from './filler.js';
import type { TextSize } from './text-size.js';

/** Some facts in a long text, one of which is asked for at its end. */
export function lookups(seed: number, { words, items, depth }: TextSize): Sample {
  const random = new Random(seed, 22);
  const facts = random.shuffle(factsOf(random, items));
  const [asked] = facts as [(typeof facts)[number]];
  const text = hidden(random, filler(random, words), facts.map(statement), depth);
  return {
    name: `lookups ${seed}`,
    context: `${READ}\n\n${text}`,
    tasks: [askedFor(asked, 'lookup')],
  };
}
