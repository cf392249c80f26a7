import { causalMask, type Mask, type Visible } from '../../analysis/causal-mask.js';
import type { CacheShapes } from '../../analysis/evaluate-at-sizes.js';
import { USE_ANOTHER_EXPORT } from '../../decoder.js';
import type { Node } from '../../onnx/onnx.js';
import type { GraphIndex } from '../../onnx/queries.js';
import { refusal } from './own-cache.js';

/**
 * How many latest tokens a token sees, itself included, through the masks that an attention node takes and those it makes
 * itself; undefined for all. And how long a text the masks are wide enough for, where they do not grow with it.
 * @param own what the node does by itself: hide later tokens, and all but a window of the earlier ones
 * @throws ElasticCacheError 'unsupported-graph' when the masks do something else.
 */
export function maskWindow(
  index: GraphIndex,
  node: Node,
  masks: readonly Mask[],
  caches: CacheShapes,
  own: { causal: boolean; window?: number },
): Visible {
  const visible = causalMask(index, masks, caches, own.causal);
  if (typeof visible === 'string') throw refusal(node, `${visible}; ${USE_ANOTHER_EXPORT}`);
  const window = Math.min(visible.window ?? Number.POSITIVE_INFINITY, own.window ?? Number.POSITIVE_INFINITY);
  return { ...visible, window: Number.isFinite(window) ? window : undefined };
}
