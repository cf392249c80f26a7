import { Random } from '../../../random.js';
import type { Sample } from '../dataset.js';
import { filler, hidden } from './filler.js';

/** Tokens of a number of five digits and a full stop, in whatever pieces a tokenizer has it. */
const ANSWER_TOKENS = 10;

/**
 * A number of five digits hidden in a text of about `words` words and asked for at its end, the passkey retrieval of Mohtashami and
 * Jaggi (2023, section 4.2).
 */
export function passkey(seed: number, words: number): Sample {
  const random = new Random(seed, 21);
  const key = String(random.int(10000, 99999));
  const fact = `The pass key is ${key}. Remember it: the pass key is ${key}.`;
  const text = hidden(random, filler(random, words), [fact]);
  return {
    name: `passkey ${seed}`,
    tasks: [
      {
        name: 'passkey',
        prompt: `A pass key is hidden in the following text. Find it and remember it.\n\n${text}\n\nWhat is the pass key?`,
        begun: 'The pass key is',
        reference: key,
        accepted: [[key]],
        among: true,
        maxNewTokens: ANSWER_TOKENS,
      },
    ],
  };
}
