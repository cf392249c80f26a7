/**
 * For each of `from` the one of `anchors` whose key is most like its own: the largest cosine, summed over the heads; of equal ones the first.
 * @param directions [heads] of [candidates, headDim], each of length 1
 */
export function mostSimilar(
  directions: readonly Float32Array[],
  headDim: number,
  from: Int32Array,
  anchors: Int32Array,
): Int32Array {
  const width = directions.length * headDim;
  // Side by side, so that the inner loop reads memory in order.
  const [own, others] = [packed(directions, headDim, from), packed(directions, headDim, anchors)];
  return from.map((_, index) => {
    const start = index * width;
    let best = 0;
    let most = Number.NEGATIVE_INFINITY;
    for (let anchor = 0, at = 0; anchor < anchors.length; anchor++, at += width) {
      let even = 0;
      let odd = 0;
      for (let i = 0; i + 1 < width; i += 2) {
        even += own[start + i]! * others[at + i]!;
        odd += own[start + i + 1]! * others[at + i + 1]!;
      }
      if (width % 2 === 1) even += own[start + width - 1]! * others[at + width - 1]!;
      if (even + odd > most) [most, best] = [even + odd, anchor];
    }
    return anchors[best]!;
  });
}

/** [rows, heads x headDim] the directions of some candidates. */
function packed(directions: readonly Float32Array[], headDim: number, candidates: Int32Array): Float32Array {
  const width = directions.length * headDim;
  const rows = new Float32Array(candidates.length * width);
  candidates.forEach((candidate, row) => {
    directions.forEach((keys, head) => {
      rows.set(keys.subarray(candidate * headDim, (candidate + 1) * headDim), row * width + head * headDim);
    });
  });
  return rows;
}
