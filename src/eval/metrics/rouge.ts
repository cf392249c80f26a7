/** How much of two texts agrees: shares of the answer, of the reference, and their harmonic mean, each 0 to 1. */
export interface Rouge {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** Scripts that are written without spaces between words. */
const UNSPACED = 'Han Hiragana Katakana Bopomofo Yiii Thai Lao Khmer Mymr Lana Tale Talu Tavt Java Bali'
  .split(' ')
  .map((script) => `\\p{Script_Extensions=${script}}`)
  .join('');

/**
 * One character of such a script, or a run of others: each with the marks on it, without which words of many scripts are not the same, and joiners within.
 */
const WORD = new RegExp(
  `(?=[\\p{L}\\p{N}])(?:[${UNSPACED}][\\p{M}\\u200c\\u200d]*|(?:(?![${UNSPACED}])[\\p{L}\\p{N}][\\p{M}\\u200c\\u200d]*)+)`,
  'gu',
);

/**
 * Lower-case runs of letters and digits, as in Google's `rouge-score`, for every script; no stemming. Where words are not parted, each character
 * is one: where a word ends there, dictionaries say, and each says otherwise.
 */
function wordsOf(text: string): string[] {
  return text.normalize('NFC').toLowerCase().normalize('NFC').match(WORD) ?? [];
}

/** ROUGE-N (Lin 2004, section 2): runs of `n` words that both texts have, each counted at most as often as in either. */
export function rougeN(answer: string, reference: string, n: number): Rouge {
  const [given, wanted] = [runsOf(wordsOf(answer), n), runsOf(wordsOf(reference), n)];
  const open = new Map<string, number>();
  for (const run of wanted) open.set(run, (open.get(run) ?? 0) + 1);
  let shared = 0;
  for (const run of given) {
    const left = open.get(run) ?? 0;
    if (left === 0) continue;
    open.set(run, left - 1);
    shared++;
  }
  return scores(shared, given.length, wanted.length);
}

/** ROUGE-L (Lin 2004, section 3.1): the longest sequence of words that both texts have in this order, gaps allowed. */
export function rougeL(answer: string, reference: string): Rouge {
  const [given, wanted] = [wordsOf(answer), wordsOf(reference)];
  return scores(lengths(given, wanted).at(-1)!.at(-1)!, given.length, wanted.length);
}

/**
 * ROUGE-L as the `rouge` package for Python computes it (1.0.1), which published numbers are often made with: sentences end at full stops and words
 * at spaces, whatever their case; of all pairs of sentences, the words of one longest common sequence are put into one set, and it counts among the *different*
 * words of each text.
 */
export function rougeLUnion(answer: string, reference: string): Rouge {
  const [given, wanted] = [sentencesOf(answer), sentencesOf(reference)];
  const shared = new Set<string>();
  for (const one of wanted)
    for (const other of given) for (const word of longestCommon(one, other)) shared.add(word);
  return scores(shared.size, new Set(given.flat()).size, new Set(wanted.flat()).size);
}

/** A sentence of spaces alone has one word there, the empty one. */
function sentencesOf(text: string): string[][] {
  return text
    .split('.')
    .filter((sentence) => sentence !== '')
    .map((sentence) => sentence.trim().split(/\s+/));
}

/** A longest sequence of words that both have in this order; of several, the one found by going back from the end, along `b` first. */
function longestCommon(a: readonly string[], b: readonly string[]): string[] {
  const table = lengths(a, b);
  const words: string[] = [];
  for (let [i, j] = [a.length, b.length]; i > 0 && j > 0; ) {
    if (a[i - 1] === b[j - 1]) {
      words.push(a[i - 1]!);
      i--;
      j--;
    } else if (table[i - 1]![j]! > table[i]![j - 1]!) i--;
    else j--;
  }
  return words.reverse();
}

/** [a + 1][b + 1] how long the longest common sequences of the first words of each are. */
function lengths(a: readonly string[], b: readonly string[]): Uint32Array[] {
  const rows = [new Uint32Array(b.length + 1)];
  for (const [i, word] of a.entries()) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 0; j < b.length; j++)
      row[j + 1] = word === b[j] ? rows[i]![j]! + 1 : Math.max(rows[i]![j + 1]!, row[j]!);
    rows.push(row);
  }
  return rows;
}

function runsOf(words: readonly string[], n: number): string[] {
  return Array.from({ length: Math.max(0, words.length - n + 1) }, (_, at) =>
    words.slice(at, at + n).join(' '),
  );
}

/** Two texts with nothing to compare agree. */
function scores(shared: number, given: number, wanted: number): Rouge {
  if (given + wanted === 0) return { precision: 1, recall: 1, f1: 1 };
  return {
    precision: given === 0 ? 0 : shared / given,
    recall: wanted === 0 ? 0 : shared / wanted,
    f1: (2 * shared) / (given + wanted),
  };
}
