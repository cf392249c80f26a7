/**
 * The `count` indices of [start, end) with the highest score, ascending. Of equal scores the earlier index goes first.
 */
export function highest(scores: Float64Array, start: number, end: number, count: number): Int32Array {
  const indices = Int32Array.from({ length: Math.max(0, end - start) }, (_, index) => start + index);
  indices.sort((a, b) => scores[b]! - scores[a]! || a - b);
  return indices.slice(0, Math.max(0, count)).sort();
}

/** [start, start + 1, ... end - 1] */
export function range(start: number, end: number): Int32Array {
  return Int32Array.from({ length: Math.max(0, end - start) }, (_, index) => start + index);
}

/** The indices that would sort the scores ascending; equal scores stay in order. */
export function argsort(scores: Float64Array): Int32Array {
  return range(0, scores.length).sort((a, b) => scores[a]! - scores[b]! || a - b);
}

/**
 * For each of `tokens` the nearest of `anchors` (both ascending); of two equally near, the earlier.
 * @param positions where each stands; where its number says without them
 */
export function nearest(tokens: Int32Array, anchors: Int32Array, positions?: Int32Array): Int32Array {
  const at = (token: number) => (positions ? positions[token]! : token);
  let candidate = 0;
  return tokens.map((token) => {
    const distance = (anchor: number) => Math.abs(at(anchors[anchor]!) - at(token));
    while (candidate + 1 < anchors.length && distance(candidate + 1) < distance(candidate)) candidate++;
    return anchors[candidate]!;
  });
}

/** The parts one after another. */
export function concat(...parts: readonly Int32Array[]): Int32Array {
  const joined = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** What `make` gives, made when it is first asked for; what it is made of is then let go. */
export function once<T>(make: () => T): () => T {
  let toDo: (() => T) | undefined = make;
  let made: T;
  return () => {
    if (toDo) made = toDo();
    toDo = undefined;
    return made;
  };
}
