/** Words and numbers of a text, in lower case. */
function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

/**
 * How far two answers agree, 0 to 1: the longest sequence of words that both have in this order, as a share of the mean
 * length of the two (the F1 form of ROUGE-L, Lin 2004). Two empty answers agree.
 */
export function agreement(answer: string, reference: string): number {
  const [a, b] = [wordsOf(answer), wordsOf(reference)];
  if (a.length + b.length === 0) return 1;
  let previous = new Uint32Array(b.length + 1);
  for (const word of a) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 0; j < b.length; j++) {
      row[j + 1] = word === b[j] ? previous[j]! + 1 : Math.max(previous[j + 1]!, row[j]!);
    }
    previous = row;
  }
  return (2 * previous[b.length]!) / (a.length + b.length);
}

/** The sentences of a text, without the space between them. */
function sentencesOf(text: string): string[] {
  return text.split(/(?<=[.!?])\s+/).filter(Boolean);
}

/** How many sentences of a true description an answer has word for word. */
export function sentencesRight(answer: string, truth: string): { right: number; total: number } {
  const said = new Set(sentencesOf(answer.trim()));
  const wanted = sentencesOf(truth.trim());
  return { right: wanted.filter((sentence) => said.has(sentence)).length, total: wanted.length };
}
