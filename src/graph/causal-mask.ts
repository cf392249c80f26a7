import { array, broadcast, type NumberArray } from './arrays.js';
import { shapeOf } from './builder.js';
import { Evaluator } from './evaluate.js';
import type { Node } from './onnx.js';
import { type GraphIndex, usedNames } from './queries.js';
import { dimsOf } from './tensors.js';

/** A value that shapes the scores [B, heads, S, T] before the softmax, and how. */
export interface Mask {
  value: string;
  /** 'added' to the scores; 'keeps' or 'hides' the scores where it is true; the first or the second by its type. */
  use: 'added' | 'keeps' | 'hides' | 'added-or-keeps';
}

/** Sizes at which a mask is tried. */
interface Sizes {
  past: number;
  tokens: number;
  /** How many of the first tokens of each row are padding. */
  padded: number;
  /** Whether the mask has to make sense at these sizes: some exports run only a prompt at once or one token at a time. */
  needed: boolean;
}

const TRIED: readonly Sizes[] = [
  { past: 0, tokens: 5, padded: 0, needed: true },
  { past: 7, tokens: 1, padded: 0, needed: true },
  { past: 3, tokens: 4, padded: 0, needed: false },
  { past: 0, tokens: 5, padded: 2, needed: true },
  { past: 7, tokens: 1, padded: 2, needed: true },
];

/** What is added to a score to hide it: -inf, the least number of a type, or at least this. */
const HIDDEN = -1e4;

/** Constants up to here may be the size of a window; what is larger stands for infinity or for no end. */
const LARGEST_WINDOW = 2 ** 18;

/**
 * Why masks are not the causal mask (each new token sees the whole past, itself and the new tokens before it) with or
 * without padding, or undefined when they are. Asked by computing them from `attention_mask` and lengths at several
 * sizes, one of them longer than every constant they are made of, so that a sliding window shows.
 * @param causal whether the operator itself hides later tokens as well
 */
export function notCausal(
  index: GraphIndex,
  masks: readonly Mask[],
  caches: CacheShapes,
  causal = false,
): string | undefined {
  if (masks.length === 0) return causal ? undefined : 'it has no mask, so that tokens see those after them';
  const reach = masks.reduce((most, mask) => Math.max(most, largestConstant(index, mask.value)), 0);
  const long = { past: reach + 64, tokens: 1, padded: 0, needed: true };
  for (const sizes of reach > 4 ? [...TRIED, long] : TRIED) {
    const reason = tried(index, masks, caches, sizes, causal);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** Shapes of the original's caches: kvHeads, headDim, and the values that hold past and new rows together. */
export interface CacheShapes {
  kvHeads: number;
  headDim: number;
  /** Names of values [B, kvHeads, P + S, headDim]. */
  whole: readonly string[];
}

function tried(
  index: GraphIndex,
  masks: readonly Mask[],
  caches: CacheShapes,
  sizes: Sizes,
  causal: boolean,
): string | undefined {
  const { past, tokens, padded } = sizes;
  const total = past + tokens;
  const batch = batchOf(index);
  const evaluator = sizedEvaluator(index, caches, { batch, ...sizes });
  let values: NumberArray[];
  try {
    values = masks.map(({ value }) => broadcastMask(evaluator.value(value), batch, tokens, total));
  } catch (cause) {
    const impossible = cause instanceof RangeError || (cause as Error).cause instanceof RangeError;
    if (impossible && !sizes.needed) return undefined;
    return `its mask cannot be understood (with ${past} tokens held and ${tokens} new): ${(cause as Error).message}`;
  }
  const heads = Math.max(...values.map(({ dims }) => dims[1]!));
  let ignoresPadding = true;
  let honoursPadding = true;
  for (let row = 0; row < batch; row++) {
    for (let head = 0; head < heads; head++) {
      for (let s = 0; s < tokens; s++) {
        if (past + s < padded) continue;
        for (let t = 0; t < total; t++) {
          const seen = masks.map((mask, i) => sees(values[i]!, mask.use, [row, head, s, t]));
          if (seen.includes(undefined)) {
            return 'its mask adds numbers other than 0 and minus infinity to the scores';
          }
          const visible = seen.every(Boolean);
          if (t > past + s && visible && !causal) return 'its mask lets tokens see those after them';
          if (t > past + s) continue;
          if (t >= padded && !visible) {
            return `its mask hides earlier tokens (the one ${past + s - t} before, of ${total}): sliding windows and other structure are not supported`;
          }
          if (t < padded) {
            ignoresPadding &&= visible;
            honoursPadding &&= !visible;
          }
        }
      }
    }
  }
  return ignoresPadding || honoursPadding ? undefined : 'its mask hides only some of the padding';
}

/** Computes with a graph whose caches and inputs have the given sizes and whose attention mask is known. */
export function sizedEvaluator(
  index: GraphIndex,
  { kvHeads, headDim, whole }: CacheShapes,
  { batch, past, tokens, padded }: { batch: number; past: number; tokens: number; padded: number },
  values: Readonly<Record<string, NumberArray>> = {},
): Evaluator {
  const total = past + tokens;
  const shapes: Record<string, readonly number[]> = {};
  for (const input of index.graph.input) {
    if (/^past_key_values\./.test(input.name)) shapes[input.name] = [batch, kvHeads, past, headDim];
    const dims = shapeOf(input);
    if (input.name === 'inputs_embeds') shapes[input.name] = [batch, tokens, Number(dims?.[2]) || 1];
    if (input.name === 'position_ids')
      shapes[input.name] = dims?.length === 3 ? [3, batch, tokens] : [batch, tokens];
  }
  for (const name of whole) shapes[name] = [batch, kvHeads, total, headDim];
  const attended = array([batch, total], true);
  attended.data.forEach((_, i) => {
    attended.data[i] = i % total < padded ? 0 : 1;
  });
  return new Evaluator(index, { attention_mask: attended, ...values }, shapes);
}

/** Rows to try: two, unless the graph takes only a certain number. */
export function batchOf(index: GraphIndex): number {
  const input = index.graph.input.find(({ name }) => name === 'inputs_embeds');
  const declared = input && shapeOf(input)?.[0];
  return typeof declared === 'number' && declared > 0 ? declared : 2;
}

/** As [batch, heads or 1, tokens, total], the new tokens' part of a longer mask having been taken by the graph. */
function broadcastMask(mask: NumberArray, batch: number, tokens: number, total: number): NumberArray {
  const heads = mask.dims.length >= 3 ? mask.dims.at(-3)! : 1;
  const extra = mask.dims.slice(0, -4);
  if (extra.some((dim) => dim !== 1)) throw new RangeError(`it is of shape [${mask.dims.join(', ')}]`);
  return broadcast({ ...mask, dims: mask.dims.slice(-4) }, [batch, heads, tokens, total]);
}

function sees(mask: NumberArray, use: Mask['use'], at: readonly number[]): boolean | undefined {
  const [, heads = 1, tokens = 1, total = 1] = mask.dims;
  const [row = 0, head = 0, s = 0, t = 0] = at;
  const value = mask.data[((row * heads + (heads === 1 ? 0 : head)) * tokens + s) * total + t]!;
  if (use === 'keeps' || (use === 'added-or-keeps' && mask.integer)) return value !== 0;
  if (use === 'hides') return value === 0;
  if (value === 0) return true;
  return value <= HIDDEN ? false : undefined;
}

/** The largest constant that could be a length among those a value is made of. */
function largestConstant(index: GraphIndex, value: string): number {
  let largest = 0;
  const seen = new Set<string>();
  const pending = [value];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    const tensor = index.constant(name);
    if (tensor) {
      // Weights are no lengths, and are reached through shapes of activations.
      const small = dimsOf(tensor).reduce((product, dim) => product * dim, 1) <= 16;
      for (const number of (small && index.constantNumbers(name)) || []) {
        const size = Math.abs(number);
        if (size > largest && size < LARGEST_WINDOW) largest = size;
      }
      continue;
    }
    const node: Node | undefined = index.producer(name);
    if (node) pending.push(...usedNames(node));
  }
  return Math.ceil(largest);
}
