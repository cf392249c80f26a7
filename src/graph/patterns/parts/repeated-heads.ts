import { array, type NumberArray } from '../../analysis/arrays.js';
import { batchOf, evaluatorAtSizes } from '../../analysis/evaluate-at-sizes.js';
import { lengthConstants } from '../../analysis/length-constants.js';
import type { GraphIndex } from '../../onnx/queries.js';

/** How a cache reaches the operator that reads it. */
export interface RepeatedHeads {
  /** Query heads that share a key head. */
  repeats: number;
  /** What every element was multiplied by. */
  factor: number;
  /** The order of the dimensions in which it comes, one of those asked for. */
  layout: HeadLayout;
}

/** Shape and steps of keys or values of all tokens T, by the order in which an operator takes them. */
const LAYOUTS = {
  '[B, heads, T, headDim]': (b: number, h: number, t: number, d: number) => ({
    dims: [b, h, t, d],
    step: [h * t * d, t * d, d, 1],
  }),
  '[B, heads, headDim, T]': (b: number, h: number, t: number, d: number) => ({
    dims: [b, h, d, t],
    step: [h * t * d, t * d, 1, t],
  }),
  '[B * heads, T, headDim]': (b: number, h: number, t: number, d: number) => ({
    dims: [b * h, t, d],
    step: [h * t * d, t * d, d, 1],
  }),
  '[B * heads, headDim, T]': (b: number, h: number, t: number, d: number) => ({
    dims: [b * h, d, t],
    step: [h * t * d, t * d, 1, t],
  }),
  '[B, T, heads * headDim]': (b: number, h: number, t: number, d: number) => ({
    dims: [b, t, h * d],
    step: [h * t * d, d, h * d, 1],
  }),
} as const;

export type HeadLayout = keyof typeof LAYOUTS;

const TOKENS = 5;
const NEW_TOKENS = 2;

/**
 * What the nodes between a cache [B, kvHeads, T, headDim] and a value do to it, found by sending numbers through them:
 * whether each key head is repeated for the query heads that share it, one after the other, and by what it is multiplied.
 * @param layouts the orders of dimensions that the operator could take
 * @returns the reason as a string when they do something else.
 */
export function repeatedHeads(
  index: GraphIndex,
  from: string,
  to: string,
  layouts: readonly HeadLayout[],
  { kvHeads, headDim }: { kvHeads: number; headDim: number },
): RepeatedHeads | string {
  const batch = batchOf(index);
  const caches = { kvHeads, headDim, whole: [] };
  const evaluator = (past: number, tokens: number, values: Record<string, NumberArray> = {}) =>
    evaluatorAtSizes(index, caches, { batch, past, tokens, padded: 0 }, values);
  const reordered = `the nodes between the cache and "${to}" do more than repeat its heads`;
  try {
    const source = array([batch, kvHeads, TOKENS, headDim], false);
    source.data.forEach((_, i) => {
      source.data[i] = i + 1;
    });
    const result = evaluator(TOKENS - NEW_TOKENS, NEW_TOKENS, { [from]: source }).value(to);
    const repeats = result.data.length / source.data.length;
    const fits = (tokens: number, dims: readonly number[]) => (layout: HeadLayout) =>
      LAYOUTS[layout](batch, kvHeads * repeats, tokens, headDim).dims.join() === dims.join();
    const layout = layouts.find(fits(TOKENS, result.dims));
    if (!Number.isInteger(repeats) || !layout) return reordered;
    const factor = result.data[0]!;
    const { step } = LAYOUTS[layout](batch, kvHeads * repeats, TOKENS, headDim);
    if (!isRepeated(source, result, step, repeats, factor)) return reordered;
    // A cache may be cut where a text is longer than a window.
    const longer = lengthConstants(index, to).number + TOKENS;
    const long = evaluator(longer, 1);
    long.declare({ [from]: [batch, kvHeads, longer + 1, headDim] });
    return fits(longer + 1, long.dims(to))(layout) ? { repeats, factor, layout } : reordered;
  } catch (cause) {
    return (cause as Error).message;
  }
}

/** Whether `result`, whose [batch, head, token, column] lie at these steps, is `source` [B, kvHeads, T, headDim] with each head repeated. */
function isRepeated(
  source: NumberArray,
  result: NumberArray,
  step: readonly number[],
  repeats: number,
  factor: number,
): boolean {
  const [batch = 0, kvHeads = 0, tokens = 0, headDim = 0] = source.dims;
  const [perBatch = 0, perHead = 0, perToken = 0, perColumn = 0] = step;
  const heads = kvHeads * repeats;
  for (let b = 0; b < batch; b++) {
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < tokens * headDim; i++) {
        const at =
          b * perBatch + head * perHead + Math.floor(i / headDim) * perToken + (i % headDim) * perColumn;
        const from = (b * kvHeads + Math.floor(head / repeats)) * tokens * headDim + i;
        const expected = source.data[from]! * factor;
        if (Math.abs(result.data[at]! - expected) > 1e-9 * Math.abs(expected)) return false;
      }
    }
  }
  return true;
}
