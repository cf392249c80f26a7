import type { PolicyState } from '../cache/policy.js';

/** How many entries each layer may hold, where layers share one budget unequally. */

/** [layers] the same for each. */
export function uniform(layers: number, mean: number): Int32Array {
  return new Int32Array(layers).fill(mean);
}

/**
 * Arithmetically falling from the first layer to the last (PyramidKV, arXiv 2406.02069, section 4.2): the last has a `beta`-th
 * of the mean, the first as much more as the last has less, but none more than `most`. What rounding leaves over goes to the first layers.
 * @returns [layers] whole numbers whose mean is exactly `mean`
 */
export function falling(layers: number, mean: number, most: number, beta: number): Int32Array {
  if (layers === 1) return uniform(1, mean);
  const first = Math.min(2 * mean - mean / beta, most);
  const last = 2 * mean - first;
  const step = (first - last) / (layers - 1);
  const entries = Int32Array.from({ length: layers }, (_, layer) => Math.floor(first - layer * step));
  let left = layers * mean - entries.reduce((sum, count) => sum + count);
  for (let layer = 0; left > 0; layer = (layer + 1) % layers) {
    if (entries[layer]! >= most) continue;
    entries[layer]!++;
    left--;
  }
  return entries;
}

/**
 * As many entries of each layer as make the same share of its importance, the most important first (PrefixKV, arXiv
 * 2412.03409, section 3.3: one threshold of cumulative normalised importance for all layers). Instead of a binary search for the threshold, which
 * ends near the budget, entries are handed out one by one to the layer whose share is the smallest (the first of equal ones), which ends on it.
 * @param ranked [layers] of [tokens] importance in the order in which tokens are kept
 * @param least entries of every layer, whatever its share
 * @returns [layers] whole numbers whose mean is exactly `mean`
 */
export function equalShares(ranked: readonly Float64Array[], mean: number, least: number): Int32Array {
  const totals = ranked.map((importance) => sum(importance));
  // A layer in which nothing received anything has no share to compare: its entries count all the same.
  const share = (layer: number, entry: number) =>
    totals[layer]! > 0 ? ranked[layer]![entry]! / totals[layer]! : 1 / ranked[layer]!.length;
  const entries = uniform(ranked.length, least);
  const shares = ranked.map((_, layer) => {
    let held = 0;
    for (let entry = 0; entry < least; entry++) held += share(layer, entry);
    return held;
  });
  for (let left = ranked.length * (mean - least); left > 0; left--) {
    let next = -1;
    entries.forEach((count, layer) => {
      if (count < ranked[layer]!.length && (next < 0 || shares[layer]! < shares[next]!)) next = layer;
    });
    shares[next]! += share(next, entries[next]!++);
  }
  return entries;
}

/**
 * As many entries of each layer as it has among the highest scores of all layers and heads.
 * @param ranked [layers] of [heads] of scores in the order in which candidates are kept
 * @param free how many, the first, are kept whatever their score
 * @param least entries of every layer, whatever its scores
 * @returns [layers] entries of each head, whole numbers whose mean is exactly `mean`
 */
export function pooledShares(
  ranked: readonly (readonly Float64Array[])[],
  mean: number,
  { free, least }: { free: number; least: number },
): Int32Array {
  const layers = ranked.length;
  const heads = ranked[0]!.length;
  const most = ranked.map(([scores]) => scores!.length);
  const wanted = highestByLayer(ranked, free, Math.max(0, mean - free) * layers * heads).map((count) => {
    // One by one: rounding decides which layer gets what is left over.
    let each = Math.min(free, mean);
    for (let i = 0; i < count; i++) each += 1 / heads;
    return each;
  });
  // What a layer must have, or cannot have, is taken from or given to the others in proportion to what they are above their least.
  const floor = Math.min(least, mean);
  const above = wanted.map((count, layer) => Math.max(0, Math.min(count, most[layer]!) - floor));
  const total = above.reduce((sum, count) => sum + count, 0);
  const room = layers * (mean - floor);
  const shares = above.map((count) => floor + (total > 0 ? (count * room) / total : room / layers));
  const entries = Int32Array.from(shares, (share, layer) => Math.min(Math.floor(share), most[layer]!));
  const rests = Array.from(shares, (share, layer) => ({ layer, rest: share - Math.floor(share) }));
  rests.sort((a, b) => b.rest - a.rest || a.layer - b.layer);
  const offered = most.reduce((sum, count) => sum + count, 0);
  for (let left = Math.min(layers * mean, offered) - sum(entries), turn = 0; left > 0; turn++) {
    const { layer } = rests[turn % layers]!;
    if (entries[layer]! >= most[layer]!) continue;
    entries[layer]!++;
    left--;
  }
  return entries;
}

/** How many of the `count` highest scores lie in each layer, those before `free` left out; of equal ones the first layer's come first. */
function highestByLayer(
  ranked: readonly (readonly Float64Array[])[],
  free: number,
  count: number,
): Float64Array {
  const open = ranked.map((layer) => layer.map((scores) => scores.subarray(free)));
  const all = new Float64Array(open.flat().reduce((length, scores) => length + scores.length, 0));
  let end = 0;
  for (const scores of open.flat()) {
    all.set(scores, end);
    end += scores.length;
  }
  all.sort();
  const last = count > 0 && end > 0 ? all[Math.max(0, end - count)]! : Number.POSITIVE_INFINITY;
  const counts = new Float64Array(ranked.length);
  const equal = new Float64Array(ranked.length);
  open.forEach((layer, index) => {
    for (const scores of layer) {
      for (let at = 0; at < scores.length; at++) {
        if (scores[at]! > last) counts[index]!++;
        else if (scores[at] === last) equal[index]!++;
      }
    }
  });
  let left = Math.min(count, end) - sum(counts);
  return counts.map((above, layer) => {
    const more = Math.min(left, equal[layer]!);
    left -= more;
    return above + more;
  });
}

/**
 * No more than a layer has to offer: what is over goes to the first layers that have more.
 * @param most [layers]
 */
export function withinOffer(entries: Int32Array, most: readonly number[]): Int32Array {
  const fitted = entries.map((count, layer) => Math.min(count, most[layer]!));
  let left = sum(entries) - sum(fitted);
  fitted.forEach((count, layer) => {
    const more = Math.min(left, most[layer]! - count);
    fitted[layer] = count + more;
    left -= more;
  });
  return fitted;
}

/**
 * Keeps the sum of the layers on the budget while decoding. Each layer's part of it stays what it was at the prompt, as nearly as can be:
 * of what is over, one entry after another is taken from the layer that is furthest above its part (the first of equal ones).
 */
export class LayerBudgets {
  readonly #entries: Int32Array;
  readonly #parts: Float64Array;
  #seen: number;

  /**
   * @param entries [layers] what each layer holds of the prompt
   * @param seen tokens of the prompt
   * @param least entries that a layer keeps in any case
   */
  constructor(
    entries: Int32Array,
    seen: number,
    private readonly least: number,
  ) {
    const mean = sum(entries) / entries.length;
    this.#entries = entries.slice();
    this.#parts = Float64Array.from(entries, (count) => count / mean);
    this.#seen = seen;
  }

  save(): PolicyState {
    return { entries: this.#entries.slice(), parts: this.#parts.slice(), seen: this.#seen };
  }

  static from(saved: PolicyState, least: number): LayerBudgets {
    const { entries, parts, seen } = saved as { entries: Int32Array; parts: Float64Array; seen: number };
    const budgets = new LayerBudgets(entries, seen, least);
    budgets.#parts.set(parts);
    return budgets;
  }

  /** What stood at `seen` or behind it is gone: with the next token, layers come down to what they may hold. */
  trimmed(seen: number): void {
    this.#seen = Math.min(this.#seen, seen);
  }

  /** What a layer may hold after `seen` tokens, when the layers may hold `mean` on average. */
  of(layer: number, seen: number, mean: number): number {
    if (seen > this.#seen) this.#advance(seen, mean);
    return this.#entries[layer]!;
  }

  #advance(seen: number, mean: number): void {
    const entries = this.#entries;
    const fresh = seen - this.#seen;
    entries.forEach((count, layer) => {
      entries[layer] = count + fresh;
    });
    this.#seen = seen;
    for (let over = sum(entries) - mean * entries.length; over > 0; over--) {
      let from = -1;
      let furthest = Number.NEGATIVE_INFINITY;
      entries.forEach((count, layer) => {
        const above = count - this.#parts[layer]! * mean;
        if (count <= this.least || above <= furthest) return;
        furthest = above;
        from = layer;
      });
      entries[from]!--;
    }
  }
}

function sum(values: Int32Array | Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
