/** A question of one choice: which of the anchors has the key that is most like that of each of some candidates. */
export interface SimilarKeys {
  readonly heads: number;
  readonly headDim: number;
  readonly from: Int32Array;
  /** One at least. */
  readonly anchors: Int32Array;
  /** Writes the keys of some candidates, [heads, some, headDim], to `start` of `to`. */
  gather(some: Int32Array, to: Float32Array, start: number): void;
}

/**
 * For each question, and for each of its `from`, the one of its `anchors` whose key is most like its own: the largest cosine, summed over the heads; of equal ones the first. A key of
 * zeros is like nothing: its cosines are 0.
 * @returns [questions] of [from] candidates
 */
export type FindSimilar = (questions: readonly SimilarKeys[]) => Int32Array[] | Promise<Int32Array[]>;

/** A {@link FindSimilar} without help: right, and slow where there are many. */
export function mostSimilar(questions: readonly SimilarKeys[]): Int32Array[] {
  return questions.map((question) => {
    const { heads, headDim, from, anchors } = question;
    const [own, others] = [directions(question, from), directions(question, anchors)];
    return from.map((_, index) => {
      let best = 0;
      let most = Number.NEGATIVE_INFINITY;
      for (let anchor = 0; anchor < anchors.length; anchor++) {
        let sum = 0;
        for (let head = 0; head < heads; head++) {
          const [a, b] = [head * from.length + index, head * anchors.length + anchor];
          for (let i = 0; i < headDim; i++) sum += own[a * headDim + i]! * others[b * headDim + i]!;
        }
        if (sum > most) [most, best] = [sum, anchor];
      }
      return anchors[best]!;
    });
  });
}

/** [heads, candidates, headDim] some candidates' keys, each of length 1. */
function directions({ heads, headDim, gather }: SimilarKeys, candidates: Int32Array): Float32Array {
  const rows = new Float32Array(heads * candidates.length * headDim);
  gather(candidates, rows, 0);
  for (let start = 0; start < rows.length; start += headDim) {
    const key = rows.subarray(start, start + headDim);
    const length = Math.hypot(...key);
    if (length > 0)
      key.forEach((value, i) => {
        key[i] = value / length;
      });
  }
  return rows;
}
