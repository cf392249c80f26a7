import type { CachePolicy, PolicyState, TurnEdit, TurnView } from '../cache/policy.js';
import { clustered } from './clusters.js';
import { compressedTurn, type Method } from './compressed-turn.js';
import { evictionOf } from './eviction.js';
import { importanceOf } from './importance.js';
import { equalShares, pooledShares, uniform } from './layer-budgets.js';
import { rankByNovelty } from './novelty.js';
import { type CheckedOptions, checkOptions, invalid, type PolicyOptions } from './options.js';
import type { RankedTurn } from './ranked-tokens.js';
import { protectedEnds, rankTokens, TIER } from './ranked-tokens.js';
import { inOrder, meanByRank, nearest, once, range } from './ranking.js';

/** Queries that importance 'window' looks at: the observation window of SnapKV. */
const WINDOW = 32;
/** Importance 'max' looks at all of a turn. */
const ALL = Number.MAX_SAFE_INTEGER;

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
  const { selection, layerBudgets, merging, eviction, heads } = checked;
  refuseTogether(checked);
  const windows: Partial<Record<typeof importance, number>> = { window, max: ALL };
  return {
    name: 'elastic',
    attention: eviction === 'frequency' ? 'always' : 'turn',
    layers: layerBudgets === 'uniform' || selection === 'shared' ? 'equal' : 'unequal',
    // Where all layers have the same anchors, so have all heads.
    heads: selection === 'shared' ? 'shared' : heads,
    minimum: startSize + endSize,
    window: windows[importance],
    peak: importance === 'max',
    needsImage: checked.protectText,
    needsKeys: checked.novelty || eviction === 'repetition' || merging === 'clusters',
    logCountBias: logCountBias ? 1 : 0,
    turnMergedKeys: mergedKeys === 'turned',
    compactPositions: positions === 'compact',
    begin: (_layers, saved) => compressedTurn((own) => methodOf(checked, own), saved),
  };
}

/** @throws ElasticCacheError 'invalid-option' for two options that exclude each other */
function refuseTogether({
  mergedKeys,
  positions,
  eviction,
  importance,
  selection,
  heads,
}: CheckedOptions): void {
  if (heads === 'unequal') {
    throw invalid('heads is "unequal", which only elastic-plus does; choose one of shared, each.');
  }
  if (mergedKeys === 'turned' && positions === 'compact') {
    throw invalid(
      'mergedKeys "turned" turns keys by where their tokens stand in the text, and positions "compact" rotates them by what was held; choose one of the two.',
    );
  }
  if (eviction === 'frequency' && selection === 'shared') {
    throw invalid(
      'eviction "frequency" removes what each layer attends to the least, and selection "shared" has all layers hold the same; choose one of the two.',
    );
  }
  if (eviction === 'frequency' && (importance === 'window' || importance === 'max')) {
    throw invalid(
      `eviction "frequency" goes on with the attention of all queries, and importance "${importance}" has that of some; choose importance sum or mean.`,
    );
  }
}

function methodOf(options: CheckedOptions, saved?: PolicyState): Method {
  const { startSize, endSize, selection, layerBudgets, merging, mergeInto } = options;
  const minimum = startSize + endSize;
  const { restart, ...evicting } = evictionOf(options, saved);
  const method: Method = {
    minimum,
    rank(layers) {
      restart(layers);
      return rank(layers, options);
    },
    entries(layers) {
      const { allowed } = layers[0]![0]!;
      // Layers that choose together hold the same, whatever ties there are.
      if (layerBudgets === 'uniform' || selection === 'shared')
        return uniform(layers.length, allowed.entries);
      const importance = layers.map((heads) => heads.map(({ scores, ranked }) => inOrder(scores, ranked())));
      if (layerBudgets === 'adaptive')
        return equalShares(importance.map(meanByRank), allowed.entries, minimum);
      return pooledShares(importance, allowed.entries, { free: minimum, least: minimum });
    },
    ...evicting,
  };
  if (merging === 'none') return method;
  if (merging === 'clusters')
    return { ...method, merge: (turn, keep) => clustered(turn, keep.length, minimum) };
  const open = ({ tokens }: RankedTurn, keep: Int32Array) =>
    mergeInto === 'kept'
      ? keep
      : keep.filter((candidate) => candidate >= startSize && candidate < tokens - endSize);
  return { ...method, merge: (turn, keep) => mergedInto(merging, turn, keep, open(turn, keep)) };
}

/** The views, each with its candidates in order. */
function rank(layers: readonly (readonly TurnView[])[], options: CheckedOptions): RankedTurn[][] {
  const { startSize, endSize, importance, selection, protectText, novelty, layerBudgets } = options;
  const { allowed } = layers[0]![0]!;
  const whole = layers.reduce((sum, [view]) => sum + view!.tokens, 0) <= layers.length * allowed.entries;
  const orderOf = ({ tokens, image, keys }: TurnView, scores: Float64Array) => {
    const tiers = protectedEnds(tokens, startSize, endSize);
    if (protectText) protect(tiers, image!);
    const count = whole ? tokens >> 1 : chosenOf(tokens, allowed.entries, layerBudgets);
    if (!novelty) return once(() => rankTokens(scores, tiers));
    // Read now: a prompt that is kept whole is put in order when its rows have long moved.
    const all = Array.from({ length: tokens }, (_, candidate) => keys!(candidate));
    return once(() => rankByNovelty(scores, tiers, all, count));
  };
  const scores = layers.map((heads) => heads.map((view) => importanceOf(view, importance)));
  if (selection === 'per-layer') {
    return layers.map((heads, layer) =>
      heads.map((view, head) => {
        const own = scores[layer]![head]!;
        return { ...view, scores: own, ranked: orderOf(view, own) };
      }),
    );
  }
  // Layers that choose together hold the same.
  const all = scores.flat();
  const mean = all[0]!.map((_, token) => all.reduce((sum, own) => sum + own[token]!, 0) / all.length);
  const ranked = orderOf(layers[0]![0]!, mean);
  return layers.map((heads) => heads.map((view) => ({ ...view, scores: mean, ranked })));
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

/** @param anchors those of `keep` that take others in */
function mergedInto(
  merging: 'mean' | 'weighted' | 'similar',
  { tokens, scores, positions }: RankedTurn,
  keep: Int32Array,
  anchors: Int32Array,
): TurnEdit {
  if (anchors.length === 0) return { keep };
  if (merging === 'similar') return { keep, similar: { anchors }, valuesOnly: true, weights: scores };
  const kept = new Set(keep);
  const from = range(0, tokens).filter((token) => !kept.has(token));
  const edit = { keep, from, into: nearest(from, anchors, positions) };
  return merging === 'weighted' ? { ...edit, weights: scores } : edit;
}
