import { TOKEN_INPUTS, tokenInputOf } from '../decoder.js';
import { shapeOf } from '../onnx/builder.js';
import type { GraphIndex } from '../onnx/queries.js';
import { array, type NumberArray } from './arrays.js';
import { Evaluator } from './evaluate.js';

/** Sizes at which a graph is tried. */
export interface Sizes {
  past: number;
  tokens: number;
  /** How many of the first tokens of each row are padding. */
  padded: number;
}

/** Shapes of the original's caches: kvHeads, headDim, and the values that hold past and new rows together. */
export interface CacheShapes {
  kvHeads: number;
  headDim: number;
  /** Names of values [B, kvHeads, P + S, headDim]. */
  whole: readonly string[];
}

const shared = new WeakMap<GraphIndex, Map<string, Evaluator>>();

/** As `evaluatorAtSizes`, one for all layers: what they share, the mask above all, is computed once. */
export function sharedEvaluatorAtSizes(index: GraphIndex, caches: CacheShapes, sizes: Sizes): Evaluator {
  const known = shared.get(index) ?? new Map<string, Evaluator>();
  shared.set(index, known);
  const key = `${sizes.past} ${sizes.tokens} ${sizes.padded}`;
  const evaluator = known.get(key) ?? evaluatorAtSizes(index, caches, { batch: batchOf(index), ...sizes });
  known.set(key, evaluator);
  evaluator.declare(wholeShapes(caches, batchOf(index), sizes.past + sizes.tokens));
  return evaluator;
}

/** Computes with a graph whose caches and inputs have the given sizes and whose attention mask is known. */
export function evaluatorAtSizes(
  index: GraphIndex,
  caches: CacheShapes,
  { batch, past, tokens, padded }: Sizes & { batch: number },
  values: Readonly<Record<string, NumberArray>> = {},
): Evaluator {
  const total = past + tokens;
  const shapes = wholeShapes(caches, batch, total);
  for (const input of index.graph.input) {
    const dims = shapeOf(input);
    if (/^past_key_values\./.test(input.name)) {
      const heads = typeof dims?.[1] === 'number' ? dims[1] : caches.kvHeads;
      const headDim = typeof dims?.[3] === 'number' ? dims[3] : caches.headDim;
      shapes[input.name] = [batch, heads, past, headDim];
    }
    if (TOKEN_INPUTS.some((name) => name === input.name)) {
      const hidden = input.name === 'inputs_embeds' ? [Number(dims?.[2]) || 1] : [];
      shapes[input.name] = [batch, tokens, ...hidden];
    }
    if (input.name === 'position_ids')
      shapes[input.name] = dims?.length === 3 ? [3, batch, tokens] : [batch, tokens];
  }
  const attended = array([batch, total], true);
  attended.data.forEach((_, i) => {
    attended.data[i] = i % total < padded ? 0 : 1;
  });
  // 0 keeps the logits of all tokens.
  const known = { attention_mask: attended, num_logits_to_keep: array([], true) };
  return new Evaluator(index, { ...known, ...values }, shapes);
}

/** Rows to try: two, unless the graph takes only a certain number. */
export function batchOf(index: GraphIndex): number {
  const input = index.graph.input.find(({ name }) => name === tokenInputOf(index.graph));
  const declared = input && shapeOf(input)?.[0];
  return typeof declared === 'number' && declared > 0 ? declared : 2;
}

function wholeShapes({ kvHeads, headDim, whole }: CacheShapes, batch: number, total: number) {
  const shapes: Record<string, readonly number[]> = {};
  for (const name of whole) shapes[name] = [batch, kvHeads, total, headDim];
  return shapes;
}
