/**
 * The `count` indices of [start, end) with the highest score, ascending. Of equal scores the earlier index goes first.
 */
export function highest(scores: Float64Array, start: number, end: number, count: number): Int32Array {
  return descending(scores, range(start, end)).slice(0, Math.max(0, count)).sort();
}

/** [start, start + 1, ... end - 1] */
export function range(start: number, end: number): Int32Array {
  const numbers = new Int32Array(Math.max(0, end - start));
  for (let i = 0; i < numbers.length; i++) numbers[i] = start + i;
  return numbers;
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

/** Some indices, ascending, by their scores: the highest first, of equal ones the earlier. What is no number goes last. */
export function descending(scores: Float64Array, indices: Int32Array): Int32Array {
  const count = indices.length;
  const own = inOrder(scores, indices);
  for (let i = 0; i < count; i++) if (Number.isNaN(own[i])) own[i] = Number.NEGATIVE_INFINITY;
  // Numbers are sorted several times as fast without a comparison of ours, and each then finds its place by halving.
  const sorted = own.slice().sort();
  const ordered = new Int32Array(count);
  const taken = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    let [most, end] = [0, count];
    while (most < end) {
      const middle = (most + end) >> 1;
      if (sorted[middle]! <= own[i]!) most = middle + 1;
      else end = middle;
    }
    const place = count - most;
    ordered[place + taken[place]!++] = indices[i]!;
  }
  return ordered;
}

/** The numbers at `places`, one after another. */
export function inOrder(numbers: Float64Array, places: Int32Array): Float64Array {
  const ordered = new Float64Array(places.length);
  for (let i = 0; i < places.length; i++) ordered[i] = numbers[places[i]!]!;
  return ordered;
}

/** 0 of nothing. */
export function mean(numbers: Float64Array): number {
  return numbers.reduce((sum, number) => sum + number, 0) / Math.max(1, numbers.length);
}

/** [tokens] what the heads of a layer give the first of each, the second of each, and so on, on average. */
export function meanByRank(heads: readonly Float64Array[]): Float64Array {
  return heads[0]!.map((_, rank) => heads.reduce((sum, scores) => sum + scores[rank]!, 0) / heads.length);
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
