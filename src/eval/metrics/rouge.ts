/** How much of two texts agrees: shares of the answer, of the reference, and their harmonic mean, each 0 to 1. */
export interface Rouge {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** Lower-case runs of letters and digits, as in Google's `rouge-score`, for every script; no stemming. */
function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
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
  let previous = new Uint32Array(wanted.length + 1);
  for (const word of given) {
    const row = new Uint32Array(wanted.length + 1);
    for (let j = 0; j < wanted.length; j++) {
      row[j + 1] = word === wanted[j] ? previous[j]! + 1 : Math.max(previous[j + 1]!, row[j]!);
    }
    previous = row;
  }
  return scores(previous[wanted.length]!, given.length, wanted.length);
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
