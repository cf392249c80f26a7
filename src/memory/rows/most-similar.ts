/** A question of one choice: which of the anchors has the key that is most like that of each of some candidates. */
export interface SimilarKeys {
  /** [heads] of [candidates, headDim] as they are held; shares memory where it can. */
  keys(): readonly Float32Array[];
  readonly headDim: number;
  readonly from: Int32Array;
  /** One at least. */
  readonly anchors: Int32Array;
}

/**
 * For each of `from` the one of `anchors` whose key is most like its own: the largest cosine, summed over the heads; of equal ones the first. A key of zeros is like
 * nothing: its cosines are 0.
 * @returns [from] candidates
 */
export type FindSimilar = (question: SimilarKeys) => Int32Array | Promise<Int32Array>;

/** A {@link FindSimilar} without help: right, and slow where there are many. */
export function mostSimilar({ keys, headDim, from, anchors }: SimilarKeys): Int32Array {
  const heads = keys();
  const width = heads.length * headDim;
  const [own, others] = [from, anchors].map((candidates) => directions(heads, headDim, candidates)) as [
    Float32Array,
    Float32Array,
  ];
  return from.map((_, index) => {
    const start = index * width;
    let best = 0;
    let most = Number.NEGATIVE_INFINITY;
    for (let anchor = 0, at = 0; anchor < anchors.length; anchor++, at += width) {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += own[start + i]! * others[at + i]!;
      if (sum > most) [most, best] = [sum, anchor];
    }
    return anchors[best]!;
  });
}

/** [candidates, heads x headDim] some candidates' keys, each of length 1 in each head. */
function directions(heads: readonly Float32Array[], headDim: number, candidates: Int32Array): Float32Array {
  const rows = new Float32Array(candidates.length * heads.length * headDim);
  let at = 0;
  for (const candidate of candidates) {
    for (const keys of heads) {
      const key = keys.subarray(candidate * headDim, (candidate + 1) * headDim);
      const length = Math.hypot(...key);
      if (length > 0)
        rows.set(
          key.map((value) => value / length),
          at,
        );
      at += headDim;
    }
  }
  return rows;
}
