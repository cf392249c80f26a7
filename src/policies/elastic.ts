import type { CachePolicy, PolicyState, TurnView } from '../cache/policy.js';
import { compressedTurn, type Method } from './compressed-turn.js';
import { evictionOf } from './eviction.js';
import { importanceOf } from './importance.js';
import { equalShares, pooledShares, uniform } from './layer-budgets.js';
import { rankByNovelty } from './novelty.js';
import { type CheckedOptions, checkOptions, invalid, type PolicyOptions } from './options.js';
import type { RankedTurn } from './ranked-tokens.js';
import { protectedEnds, rankTokens, TIER } from './ranked-tokens.js';
import { nearest, once, range } from './ranking.js';

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
  if (mergedKeys === 'turned' && positions === 'compact') {
    throw invalid(
      'mergedKeys "turned" turns keys by where their tokens stand in the text, and positions "compact" rotates them by what was held; choose one of the two.',
    );
  }
  return {
    name: 'elastic',
    attention: 'turn',
    layers: checked.layerBudgets === 'uniform' || checked.selection === 'shared' ? 'equal' : 'unequal',
    minimum: startSize + endSize,
    window: importance === 'window' ? window : undefined,
    needsImage: checked.protectText,
    needsKeys: checked.novelty || checked.eviction === 'repetition',
    logCountBias: logCountBias ? 1 : 0,
    turnMergedKeys: mergedKeys === 'turned',
    compactPositions: positions === 'compact',
    begin: (_layers, saved) => compressedTurn((own) => methodOf(checked, own), saved),
  };
}

function methodOf(options: CheckedOptions, saved?: PolicyState): Method {
  const { startSize, endSize, selection, layerBudgets, merging } = options;
  const minimum = startSize + endSize;
  const { restart, ...evicting } = evictionOf(options, saved);
  const method: Method = {
    minimum,
    rank(layers) {
      restart(layers);
      return rank(
        layers.map(([view]) => view!),
        options,
      ).map((turn) => [turn]);
    },
    entries(layers) {
      const { allowed } = layers[0]![0]!;
      // Layers that choose together hold the same, whatever ties there are.
      if (layerBudgets === 'uniform' || selection === 'shared')
        return uniform(layers.length, allowed.entries);
      const importance = layers.map(([turn]) =>
        Float64Array.from(turn!.ranked(), (candidate) => turn!.scores[candidate]!),
      );
      if (layerBudgets === 'adaptive') return equalShares(importance, allowed.entries, minimum);
      return pooledShares(
        importance.map((ranked) => [ranked]),
        allowed.entries,
        { free: minimum, least: minimum },
      );
    },
    ...evicting,
  };
  return merging === 'none' ? method : { ...method, merge: mergeWith(merging) };
}

/** The views of the layers, whose heads share one choice, each with its candidates in order. */
function rank(views: readonly TurnView[], options: CheckedOptions): RankedTurn[] {
  const { startSize, endSize, importance, selection, protectText, novelty, layerBudgets } = options;
  const whole =
    views.reduce((sum, { tokens }) => sum + tokens, 0) <= views.length * views[0]!.allowed.entries;
  const orderOf = ({ tokens, image, keys, allowed }: TurnView, scores: Float64Array) => {
    const tiers = protectedEnds(tokens, startSize, endSize);
    if (protectText) protect(tiers, image!);
    const count = whole ? tokens >> 1 : chosenOf(tokens, allowed.entries, layerBudgets);
    if (!novelty) return once(() => rankTokens(scores, tiers));
    // Read now: a prompt that is kept whole is put in order when its rows have long moved.
    const all = Array.from({ length: tokens }, (_, candidate) => keys!(candidate));
    return once(() => rankByNovelty(scores, tiers, all, count));
  };
  const scores = views.map((view) => importanceOf(view, importance));
  if (selection === 'per-layer') {
    return views.map((view, layer) => ({
      ...view,
      scores: scores[layer]!,
      ranked: orderOf(view, scores[layer]!),
    }));
  }
  // Layers that choose together hold the same.
  const mean = scores[0]!.map(
    (_, token) => scores.reduce((sum, layer) => sum + layer[token]!, 0) / scores.length,
  );
  const ranked = orderOf(views[0]!, mean);
  return views.map((view) => ({ ...view, scores: mean, ranked }));
}

/**
 * How many tokens of a turn that does not fit are chosen for their novelty. One that is kept whole gives way to half of what is held (eviction 'repetition'): in what order the
 * rest of it goes is not worth the time of choosing, which grows with the square.
 */
function chosenOf(tokens: number, entries: number, layerBudgets: CheckedOptions['layerBudgets']): number {
  return layerBudgets === 'uniform' ? Math.min(tokens, entries) : tokens;
}

function protect(tiers: Uint8Array, image: Uint8Array): void {
  image.forEach((isImage, token) => {
    if (isImage === 0) tiers[token] = Math.max(tiers[token]!, TIER.text);
  });
}

function mergeWith(merging: 'mean' | 'weighted' | 'similar'): NonNullable<Method['merge']> {
  return ({ tokens, scores, positions }, keep) => {
    if (merging === 'similar') return { keep, similar: { anchors: keep }, valuesOnly: true, weights: scores };
    const anchors = new Set(keep);
    const from = range(0, tokens).filter((token) => !anchors.has(token));
    const edit = { keep, from, into: nearest(from, keep, positions) };
    return merging === 'weighted' ? { ...edit, weights: scores } : edit;
  };
}
