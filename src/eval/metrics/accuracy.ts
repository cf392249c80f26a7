/** Words, and numbers with their sign and their decimals: -1 is not 1, and 1.5 not 5. */
const WORD = /(?:(?<![\p{L}\p{N}])-(?=\p{N}))?[\p{L}\p{N}]+(?:\.\p{N}+)*/gu;

/**
 * Whether an answer is one of those accepted, but for case, articles in front, quotes and a full stop; of one with
 * several parts, and of any `among` other words, whether all of it is there as whole words.
 */
export function isRight(answer: string, accepted: readonly (readonly string[])[], among = false): boolean {
  return accepted.some((parts) =>
    parts.length === 1 && !among
      ? scoreAnswer(answer, parts[0]!)
      : parts.every((part) => contains(answer, part)),
  );
}

function contains(answer: string, part: string): boolean {
  const words = (text: string) => ` ${(text.toLowerCase().match(WORD) ?? []).join(' ')} `;
  return words(answer).includes(words(part));
}

const normalise = (answer: string) =>
  answer
    .toLowerCase()
    .replace(/[!?"']|\.(?!\d)/g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/^(an?|the) /, '');

/** Whether an answer is the expected one, but for case, articles in front, quotes and a full stop. */
export function scoreAnswer(given: string, expected: string): boolean {
  return normalise(given) === normalise(expected);
}
