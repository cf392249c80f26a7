import {
  type CachePolicy,
  eachLayer,
  keepAll,
  type LayerPolicy,
  type PromptEdit,
  type PromptView,
} from '../cache/policy.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { concat, highest, nearest, range } from './ranking.js';

/**
 * Elastic Cache as in the paper (Liu et al., ECCV 2024, arXiv 2407.18121, sections 3.2 and 3.3), every layer by itself.
 *
 * Prompt: the entries that received the most attention are anchors; the first `startSize` and the last `endSize` (one, in the
 * paper) are always among them. Every other entry is merged into the anchor nearest in position. Ties, in importance and in distance, go to the
 * earlier one.
 *
 * Decode: the entry at a fixed place, `distance` entries before the end of the compressed prompt, is removed. Where the
 * prompt is shorter than that, the place is right after the first `startSize` entries.
 * @throws ElasticCacheError 'invalid-option'
 */
export function elastic(options: PolicyOptions = {}): CachePolicy {
  const { startSize, endSize, distance } = checkOptions(options);
  return {
    name: 'elastic',
    attention: 'prefill',
    minimum: startSize + endSize,
    begin: (layers) => eachLayer(layers, () => beginLayer(startSize, endSize, distance)),
  };
}

function beginLayer(startSize: number, endSize: number, distance: number): LayerPolicy {
  let fixedPoint = startSize;
  return {
    prefill(prompt) {
      const edit = mergeIntoAnchors(prompt, startSize, endSize);
      const held = edit.keep.length;
      const wanted = distance < 0 ? held + distance : Math.min(distance, held - 1);
      fixedPoint = Math.max(startSize, wanted);
      return edit;
    },
    evict: (entries, allowed) => (entries.length > allowed.entries ? entries.at(fixedPoint) : -1),
  };
}

function mergeIntoAnchors(
  { tokens, importance, allowed }: PromptView,
  startSize: number,
  endSize: number,
): PromptEdit {
  if (tokens <= allowed.entries) return keepAll(tokens);
  const end = tokens - endSize;
  const keep = concat(
    range(0, startSize),
    highest(importance, startSize, end, allowed.entries - startSize - endSize),
    range(end, tokens),
  );
  const anchors = new Set(keep);
  const from = range(0, tokens).filter((token) => !anchors.has(token));
  return { keep, from, into: nearest(from, keep) };
}
