import type { CachePolicy, PromptView } from '../cache/policy.js';
import { compressedPrompt, type Method, type RankedPrompt } from './compressed-prompt.js';
import { atPlace, fixedPointOf, lowestFirst, repeatedFirst } from './evictors.js';
import { importanceOf } from './importance.js';
import { equalShares, uniform } from './layer-budgets.js';
import { rankByNovelty } from './novelty.js';
import { type CheckedOptions, checkOptions, type PolicyOptions } from './options.js';
import { protectedEnds, rankTokens, TIER } from './prompt-ranking.js';
import { nearest, once, range } from './ranking.js';
import { Repetition } from './repetition.js';

/** Queries that importance 'window' looks at: the observation window of SnapKV. */
const WINDOW = 32;

/**
 * Elastic Cache as in the paper (Liu et al., ECCV 2024, arXiv 2407.18121, sections 3.2 and 3.3), every layer by itself.
 *
 * Prompt: the entries that received the most attention are anchors; the first `startSize` and the last `endSize` (one, in the
 * paper) are always among them. Every other entry is merged into the anchor nearest in position. Ties, in importance and in distance, go to the
 * earlier one.
 *
 * Decode: the entry at a fixed place, `distance` entries before the end of the compressed prompt, is removed. Where the
 * prompt is shorter than that, the place is right after the first `startSize` entries.
 *
 * The other options go beyond the paper, which is what they are without being told; docs/policies.md says where each comes from.
 * @throws ElasticCacheError 'invalid-option'
 */
export function elastic(options: PolicyOptions = {}): CachePolicy {
  const checked = checkOptions(options);
  const { startSize, endSize, importance, window = WINDOW, logCountBias, mergedKeys, positions } = checked;
  return {
    name: 'elastic',
    attention: 'prefill',
    minimum: startSize + endSize,
    window: importance === 'window' ? window : undefined,
    needsImage: checked.protectText,
    needsKeys: checked.novelty || checked.eviction === 'repetition',
    logCountBias,
    turnMergedKeys: mergedKeys === 'turned',
    compactPositions: positions === 'compact',
    begin: () => compressedPrompt(methodOf(checked)),
  };
}

function methodOf(options: CheckedOptions): Method {
  const { startSize, endSize, distance, layerBudgets, merging, eviction } = options;
  const minimum = startSize + endSize;
  let repetition: Repetition;
  const method: Method = {
    minimum,
    rank(prompts) {
      repetition = new Repetition(prompts.length, prompts[0]!.tokens);
      return rank(prompts, options);
    },
    entries(prompts) {
      const { allowed } = prompts[0]!;
      if (layerBudgets === 'uniform') return uniform(prompts.length, allowed.entries);
      const importance = prompts.map(({ scores, ranked }) =>
        Float64Array.from(ranked(), (token) => scores[token]!),
      );
      return equalShares(importance, allowed.entries, minimum);
    },
    evictor({ ranked }, keep) {
      const place = fixedPointOf(keep.length, startSize, distance);
      if (eviction === 'fixed-point') return atPlace(place);
      if (eviction === 'importance') return lowestFirst(keep, ranked, place);
      return repeatedFirst(keep, ranked, startSize, repetition);
    },
    added: (keys) => eviction === 'repetition' && repetition.add(keys),
  };
  return merging === 'none' ? method : { ...method, merge: mergeWith(merging) };
}

function rank(prompts: readonly PromptView[], options: CheckedOptions): RankedPrompt[] {
  const { startSize, endSize, importance, selection, protectText, novelty, layerBudgets } = options;
  const { tokens, image, keys, allowed } = prompts[0]!;
  const tiers = protectedEnds(tokens, startSize, endSize);
  if (protectText) protect(tiers, image!);
  const count = chosenOf(tokens, allowed.entries, layerBudgets);
  const order = (scores: Float64Array) =>
    once(() => (novelty ? rankByNovelty(scores, tiers, keys!, count) : rankTokens(scores, tiers)));
  const scores = prompts.map((prompt) => importanceOf(prompt, importance));
  if (selection === 'per-layer') {
    return prompts.map((prompt, layer) => ({
      ...prompt,
      scores: scores[layer]!,
      ranked: order(scores[layer]!),
    }));
  }
  const mean = scores[0]!.map(
    (_, token) => scores.reduce((sum, layer) => sum + layer[token]!, 0) / scores.length,
  );
  const ranked = order(mean);
  return prompts.map((prompt) => ({ ...prompt, scores: mean, ranked }));
}

/**
 * How many tokens are chosen for their novelty. A prompt that was kept whole gives way to half of what is held (eviction 'repetition'): in what order the rest of it
 * goes is not worth the time of choosing, which grows with the square.
 */
function chosenOf(tokens: number, entries: number, layerBudgets: CheckedOptions['layerBudgets']): number {
  if (tokens <= entries) return tokens >> 1;
  return layerBudgets === 'uniform' ? entries : tokens;
}

function protect(tiers: Uint8Array, image: Uint8Array): void {
  image.forEach((isImage, token) => {
    if (isImage === 0) tiers[token] = Math.max(tiers[token]!, TIER.text);
  });
}

function mergeWith(merging: 'mean' | 'weighted'): NonNullable<Method['merge']> {
  return ({ tokens, scores }, keep) => {
    const anchors = new Set(keep);
    const from = range(0, tokens).filter((token) => !anchors.has(token));
    const edit = { keep, from, into: nearest(from, keep) };
    return merging === 'weighted' ? { ...edit, weights: scores } : edit;
  };
}
