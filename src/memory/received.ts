/** Sums of attention by row, for the lists of a layer: one that all heads share, or one for each head. */

/**
 * [lists] of [count + tokens]: what the rows 0 .. count - 1 and then the new tokens received.
 * @param attention [kvHeads, capacity + tokens] as the graph gives it: by row for what was held, then the new tokens
 * @param lists 1, where the heads share their choice and get the mean, or kvHeads
 */
export function receivedBy(
  attention: Float32Array,
  {
    kvHeads,
    lists,
    capacity,
    count,
    tokens,
  }: Record<'kvHeads' | 'lists' | 'capacity' | 'count' | 'tokens', number>,
): Float64Array[] {
  const width = capacity + tokens;
  const each = (head: number, into: Float64Array) => {
    const start = head * width;
    for (let row = 0; row < count; row++) into[row]! += attention[start + row]!;
    for (let token = 0; token < tokens; token++) into[count + token]! += attention[start + capacity + token]!;
  };
  const received = Array.from({ length: lists }, () => new Float64Array(count + tokens));
  for (let head = 0; head < kvHeads; head++) each(head, received[lists > 1 ? head : 0]!);
  return lists > 1 || kvHeads === 1 ? received : received.map((sums) => sums.map((sum) => sum / kvHeads));
}

/** Adds up what came with two parts of a turn, or takes the most of each; `next` is of more tokens. */
export function together(before: Float64Array | undefined, next: Float64Array, peak: boolean): Float64Array {
  if (before === undefined) return next;
  for (let i = 0; i < before.length; i++) {
    next[i] = peak ? Math.max(next[i]!, before[i]!) : next[i]! + before[i]!;
  }
  return next;
}
