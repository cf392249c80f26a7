import type { GraphIndex } from '../onnx/queries.js';
import { broadcast, type NumberArray } from './arrays.js';
import { batchOf, type CacheShapes, type Sizes, sharedEvaluatorAtSizes } from './evaluate-at-sizes.js';
import { type LengthConstants, lengthConstants, united } from './length-constants.js';

/** A value that shapes the scores [B, heads, S, T] before the softmax, and how. */
export interface Mask {
  value: string;
  /**
   * 'added' to the scores; 'keeps' or 'hides' the scores where it is true; the first or the second by its type. As
   * 'keeps-keys' it is [B, T] instead, the same for every head and query.
   */
  use: 'added' | 'keeps' | 'hides' | 'added-or-keeps' | 'keeps-keys';
  /** What an added one is multiplied by, 1 when absent. */
  factor?: number;
}

/** Sizes at which a mask is tried. */
interface Trial extends Sizes {
  /** Whether the mask has to make sense at these sizes: some exports run only a prompt at once or one token at a time. */
  needed: boolean;
}

const TRIED: readonly Trial[] = [
  { past: 0, tokens: 5, padded: 0, needed: true },
  { past: 7, tokens: 1, padded: 0, needed: true },
  { past: 3, tokens: 4, padded: 0, needed: false },
  { past: 0, tokens: 5, padded: 2, needed: true },
  { past: 7, tokens: 1, padded: 2, needed: true },
];

/** What is added to a score to hide it, or put in its place: -inf, the least number of a type, or at most this. */
export const HIDDEN = -1e4;

/** A window up to this long is also tried with a prompt that is longer, and a mask up to this wide with one that fills it. */
const TRIED_AT_ONCE = 512;

/** What masks let a token see. */
export interface Visible {
  /** How many last tokens, itself among them; undefined for all. */
  window: number | undefined;
  /** The tokens of the longest text that the mask is wide enough for; absent where it grows with the text, or is cut from a table. */
  longestText?: number;
}

/**
 * What causal masks let a token see, with or without padding: all tokens before it or a sliding window of them. Asked by
 * computing the masks from `attention_mask` and lengths at several sizes, one of them longer than every constant they
 * are made of, or as long as the table they are cut from, so that a window shows.
 * @param causal whether the operator itself hides later tokens as well
 * @returns the reason as a string when they are something else
 */
export function causalMask(
  index: GraphIndex,
  masks: readonly Mask[],
  caches: CacheShapes,
  causal = false,
): Visible | string {
  if (masks.length === 0) {
    return causal ? { window: undefined } : 'it has no mask, so that tokens see those after them';
  }
  const constants = united(masks.map(({ value }) => lengthConstants(index, value)));
  const { number } = constants;
  const trials = [...TRIED];
  const table = longestText(index, masks, caches, constants);
  const width = table === 0 ? widthOf(index, masks, caches, number) : undefined;
  const longest = table || width || Number.POSITIVE_INFINITY;
  if (Number.isFinite(longest)) trials.push({ past: longest - 1, tokens: 1, padded: 0, needed: true });
  if (width !== undefined && width <= TRIED_AT_ONCE)
    trials.push({ past: 0, tokens: width, padded: 0, needed: true });
  if (width === undefined && number > 4)
    trials.push({ past: number + 64, tokens: 1, padded: 0, needed: table === 0 });
  const found = tryAll(index, masks, caches, trials, causal);
  if (typeof found === 'string') return found;
  if (width !== undefined) found.longestText = width;
  if (found.window === undefined) return found;
  // A mask of a prompt and one of a single token may be made differently.
  const { window } = found;
  const longer: Trial[] = [{ past: window - 1, tokens: 3, padded: 0, needed: false }];
  if (window <= TRIED_AT_ONCE) {
    longer.push({ past: 0, tokens: Math.min(window + 3, longest), padded: 0, needed: true });
  }
  const again = tryAll(index, masks, caches, longer, causal);
  if (typeof again === 'string') return again;
  if (again.window === window) return found;
  return `its mask sees ${window} tokens at one length and ${again.window ?? 'all'} at another`;
}

/**
 * The longest text that the tables behind masks let the original run: as long as the largest of them, or where a mask cannot be
 * made of that many tokens because another is shorter, the length after which it cannot be made. 0 without a table.
 */
function longestText(
  index: GraphIndex,
  masks: readonly Mask[],
  caches: CacheShapes,
  { number, tables }: LengthConstants,
): number {
  const [largest = 0, ...others] = tables;
  const possible = (total: number) => canBeMade(index, masks, caches, total);
  if (largest === 0 || possible(largest)) return largest;
  // The length may also stand among numbers: in the shape that a table is given.
  const ends = [...others, number].filter((length) => length > 0);
  return ends.find((length) => possible(length) && !possible(length + 1)) ?? largest;
}

/**
 * How many tokens masks are wide where exporters cut them to a number that stands in the graph, and left the keys as long as the text: the original runs no longer text. Undefined
 * where masks grow with the text, and where they cannot be made of the shortest either.
 * @param number the largest constant that could be that number
 */
function widthOf(
  index: GraphIndex,
  masks: readonly Mask[],
  caches: CacheShapes,
  number: number,
): number | undefined {
  let [most, too] = [Math.max(...TRIED.map(({ past, tokens }) => past + tokens)), number + 65];
  const possible = (total: number) => canBeMade(index, masks, caches, total);
  if (number < most || possible(too) || !possible(most)) return undefined;
  while (too - most > 1) {
    const between = Math.floor((most + too) / 2);
    if (possible(between)) most = between;
    else too = between;
  }
  return most;
}

/** Whether masks can be made of the next token of a text of `total` tokens. */
function canBeMade(index: GraphIndex, masks: readonly Mask[], caches: CacheShapes, total: number): boolean {
  const sizes = { past: total - 1, tokens: 1, padded: 0, needed: false };
  return tried(index, masks, caches, sizes, true) !== undefined;
}

function tryAll(
  index: GraphIndex,
  masks: readonly Mask[],
  caches: CacheShapes,
  trials: readonly Trial[],
  causal: boolean,
): Visible | string {
  const found = trials.map((trial) => tried(index, masks, caches, trial, causal));
  const reason = found.find((each) => typeof each === 'string');
  if (reason !== undefined) return reason;
  const all = found.filter((each) => typeof each === 'object');
  const window = Math.min(...all.map(({ nearestHidden }) => nearestHidden));
  const farthest = Math.max(...all.map(({ farthestSeen }) => farthestSeen));
  if (window === 0) {
    return 'its mask hides a token from itself, as those do that count new tokens as if none were held: export it with a newer version of its exporter';
  }
  if (farthest >= window) {
    return `its mask hides earlier tokens (the one ${window} before, but not the one ${farthest} before): only sliding windows are understood`;
  }
  for (const { padding } of all) {
    const within = padding.filter(({ before }) => before < window);
    if (within.some(({ seen }) => seen) && within.some(({ seen }) => !seen))
      return 'its mask hides only some of the padding';
  }
  return { window: Number.isFinite(window) ? window : undefined };
}

/** What one trial showed; distances count back from the token that looks. */
interface Seen {
  /** Infinity when nothing was hidden. */
  nearestHidden: number;
  farthestSeen: number;
  /** Each padding token as each token that is none sees it. */
  padding: { before: number; seen: boolean }[];
}

/** Undefined when the mask cannot be made at these sizes and need not be. */
function tried(
  index: GraphIndex,
  masks: readonly Mask[],
  caches: CacheShapes,
  { needed, ...sizes }: Trial,
  causal: boolean,
): Seen | string | undefined {
  const { past, tokens, padded } = sizes;
  const total = past + tokens;
  const batch = batchOf(index);
  let values: NumberArray[];
  try {
    const evaluator = sharedEvaluatorAtSizes(index, caches, sizes);
    values = masks.map((mask) => broadcastMask(mask, evaluator.value(mask.value), batch, tokens, total));
  } catch (cause) {
    const impossible = cause instanceof RangeError || (cause as Error).cause instanceof RangeError;
    if (impossible && !needed) return undefined;
    return `its mask cannot be understood (with ${past} tokens held and ${tokens} new): ${(cause as Error).message}`;
  }
  const heads = Math.max(...values.map(({ dims }) => dims[1]!));
  const found: Seen = { nearestHidden: Number.POSITIVE_INFINITY, farthestSeen: 0, padding: [] };
  for (let at = 0; at < batch * heads * tokens; at++) {
    const s = at % tokens;
    if (past + s < padded) continue;
    const head = Math.floor(at / tokens) % heads;
    const row = Math.floor(at / tokens / heads);
    for (let t = 0; t < total; t++) {
      let seen: boolean | undefined = true;
      for (const [i, { use, factor = 1 }] of masks.entries()) {
        const each = sees(values[i]!, use, factor, row, head, s, t);
        if (each === undefined) return 'its mask adds numbers other than 0 and minus infinity to the scores';
        seen &&= each;
      }
      const before = past + s - t;
      if (before < 0) {
        if (seen && !causal) return 'its mask lets tokens see those after them';
      } else if (t < padded) found.padding.push({ before, seen });
      else if (seen) found.farthestSeen = Math.max(found.farthestSeen, before);
      else found.nearestHidden = Math.min(found.nearestHidden, before);
    }
  }
  return found;
}

/** As [batch, heads or 1, tokens, total], the new tokens' part of a longer mask having been taken by the graph. */
function broadcastMask(
  { use }: Mask,
  mask: NumberArray,
  batch: number,
  tokens: number,
  total: number,
): NumberArray {
  if (use === 'keeps-keys') {
    if (mask.dims.length !== 2) throw new RangeError(`it is of shape [${mask.dims.join(', ')}]`);
    return broadcast({ ...mask, dims: [mask.dims[0]!, 1, 1, mask.dims[1]!] }, [batch, 1, tokens, total]);
  }
  const heads = mask.dims.length >= 3 ? mask.dims.at(-3)! : 1;
  const extra = mask.dims.slice(0, -4);
  if (extra.some((dim) => dim !== 1)) throw new RangeError(`it is of shape [${mask.dims.join(', ')}]`);
  return broadcast({ ...mask, dims: mask.dims.slice(-4) }, [batch, heads, tokens, total]);
}

function sees(
  mask: NumberArray,
  use: Mask['use'],
  factor: number,
  row: number,
  head: number,
  s: number,
  t: number,
): boolean | undefined {
  const [, heads = 1, tokens = 1, total = 1] = mask.dims;
  const value = mask.data[((row * heads + (heads === 1 ? 0 : head)) * tokens + s) * total + t]!;
  if (use === 'keeps' || use === 'keeps-keys' || (use === 'added-or-keeps' && mask.integer))
    return value !== 0;
  if (use === 'hides') return value === 0;
  if (value === 0) return true;
  return value * factor <= HIDDEN ? false : undefined;
}
