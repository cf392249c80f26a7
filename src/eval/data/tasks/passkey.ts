import { Random } from '../../../random.js';
import type { Sample } from '../dataset.js';
import { filler, hidden, READ } from './filler.js';
import type { TextSize } from './text-size.js';
import { COLOURS } from './words.js';

/** Tokens of a number of five digits and a full stop, in whatever pieces a tokenizer has it. */
const ANSWER_TOKENS = 10;

export const MOST_KEYS = COLOURS.length;

/**
 * A number of five digits hidden in a long text and asked for at its end, the passkey retrieval of Mohtashami and Jaggi (2023, section 4.2). Of several, each has a colour
 * for its name.
 */
export function passkey(seed: number, { words, items, depth }: TextSize): Sample {
  const random = new Random(seed, 21);
  const colours = random.shuffle(COLOURS).slice(0, items);
  const keys = colours.map((colour) => ({
    name: items === 1 ? 'pass key' : `${colour} pass key`,
    key: String(random.int(10000, 99999)),
  }));
  const stated = keys.map(({ name, key }) => `The ${name} is ${key}. Remember it: the ${name} is ${key}.`);
  const text = hidden(random, filler(random, words), stated, depth);
  const [{ name, key }] = keys as [(typeof keys)[number]];
  return {
    name: `passkey ${seed}`,
    context: `${READ}\n\n${text}`,
    tasks: [
      {
        name: 'passkey',
        prompt: `What is the ${name}?`,
        begun: `The ${name} is`,
        reference: key,
        accepted: [[key]],
        among: true,
        maxNewTokens: ANSWER_TOKENS,
      },
    ],
  };
}
