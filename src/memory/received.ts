import type { Layout } from './rows/layout.js';

/** Sums of attention by row, for the lists of a layer: one that all heads share, or one for each head. */

/** What attention came for. */
export interface Fed {
  readonly layout: Layout;
  /** The lane of `layout` that the sequence lies in. */
  readonly lane: number;
  /** [kvHeads] rows in use of each head */
  readonly held: readonly number[];
  /** New tokens. */
  readonly tokens: number;
  /** 1, where the heads share their choice and get the mean, or kvHeads. */
  readonly lists: number;
}

/**
 * [lists] of [held + tokens]: what the rows in use and then the new tokens received.
 * @param attention [kvHeads, capacity + tokens] as the graph gives it: by row for what was fed, then the new tokens
 */
export function receivedBy(
  attention: Float32Array,
  { layout, lane, held, tokens, lists }: Fed,
): Float64Array[] {
  const { capacity } = layout;
  const kvHeads = held.length;
  const each = (head: number, into: Float64Array) => {
    const count = held[head]!;
    const start = head * (capacity + tokens);
    const first = start + layout.offset(lane, head);
    for (let row = 0; row < count; row++) into[row]! += attention[first + row]!;
    for (let token = 0; token < tokens; token++) into[count + token]! += attention[start + capacity + token]!;
  };
  const received = Array.from({ length: lists }, (_, list) => new Float64Array(held[list]! + tokens));
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
