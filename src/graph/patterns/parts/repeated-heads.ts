import { array, type NumberArray } from '../../analysis/arrays.js';
import { batchOf, evaluatorAtSizes } from '../../analysis/evaluate-at-sizes.js';
import type { GraphIndex } from '../../onnx/queries.js';

/** How a cache reaches the operator that reads it. */
export interface RepeatedHeads {
  /** Query heads that share a key head. */
  repeats: number;
  /** What every element was multiplied by. */
  factor: number;
}

/** Orders of the dimensions in which an operator takes keys or values: with its position in each, T the tokens held. */
export type HeadLayout = '[B, heads, T, headDim]' | '[B, heads, headDim, T]' | '[B, T, heads * headDim]';

const TOKENS = 5;
const NEW_TOKENS = 2;

/**
 * What the nodes between a cache [B, kvHeads, T, headDim] and a value do to it, found by sending numbers through them:
 * whether each key head is repeated for the query heads that share it, one after the other, and by what it is multiplied.
 * @returns the reason as a string when they do something else.
 */
export function repeatedHeads(
  index: GraphIndex,
  from: string,
  to: string,
  layout: HeadLayout,
  { kvHeads, headDim }: { kvHeads: number; headDim: number },
): RepeatedHeads | string {
  const batch = batchOf(index);
  let source: NumberArray;
  let result: NumberArray;
  try {
    source = array([batch, kvHeads, TOKENS, headDim], false);
    source.data.forEach((_, i) => {
      source.data[i] = i + 1;
    });
    const sizes = { batch, past: TOKENS - NEW_TOKENS, tokens: NEW_TOKENS, padded: 0 };
    const caches = { kvHeads, headDim, whole: [] };
    result = evaluatorAtSizes(index, caches, sizes, { [from]: source }).value(to);
  } catch (cause) {
    return (cause as Error).message;
  }
  const factor = result.data[0]!;
  const heads = result.data.length / (batch * TOKENS * headDim);
  const repeats = heads / kvHeads;
  const dims = {
    '[B, heads, T, headDim]': [batch, heads, TOKENS, headDim],
    '[B, heads, headDim, T]': [batch, heads, headDim, TOKENS],
    '[B, T, heads * headDim]': [batch, TOKENS, heads * headDim],
  }[layout];
  const reordered = `the nodes between the cache and "${to}" do more than repeat its heads`;
  if (!Number.isInteger(repeats) || result.dims.join() !== dims.join()) return reordered;
  const step = {
    '[B, heads, T, headDim]': [heads * TOKENS * headDim, TOKENS * headDim, headDim, 1],
    '[B, heads, headDim, T]': [heads * TOKENS * headDim, TOKENS * headDim, 1, TOKENS],
    '[B, T, heads * headDim]': [heads * TOKENS * headDim, headDim, heads * headDim, 1],
  }[layout] as [number, number, number, number];
  for (let b = 0; b < batch; b++) {
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < TOKENS * headDim; i++) {
        const at = b * step[0] + head * step[1] + Math.floor(i / headDim) * step[2] + (i % headDim) * step[3];
        const expected =
          source.data[(b * kvHeads + Math.floor(head / repeats)) * TOKENS * headDim + i]! * factor;
        if (Math.abs(result.data[at]! - expected) > 1e-9 * expected) return reordered;
      }
    }
  }
  return { repeats, factor };
}
