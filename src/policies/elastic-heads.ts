import type { CachePolicy, TurnEdit, TurnView } from '../cache/policy.js';
import { compressedTurn, type Method } from './compressed-turn.js';
import { fixedPointOf, HeldTurn, LowestFirst } from './evictors.js';
import { meanPooled } from './importance.js';
import { pooledShares, uniform } from './layer-budgets.js';
import { checkOptions, invalid, type PolicyOptions } from './options.js';
import type { RankedTurn } from './ranked-tokens.js';
import { protectedEnds, rankTokens, TIER } from './ranked-tokens.js';
import { once } from './ranking.js';

const DEFAULTS = {
  // The question, mostly: more tokens look at too much.
  window: 16,
  peak: true,
  valueNorms: true,
  // What stands beside a hit is part of what was said.
  kernel: 13,
  // The first tokens take the attention that nothing else wants.
  startSize: 4,
  endSize: 8,
  heads: 'each',
  layerBudgets: 'pool',
  merging: 'similar',
} satisfies PolicyOptions;

/** What it reads. */
export const elasticHeadsOptions = [
  ...(Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]),
  'distance',
] as const;

/** Of the mean entries of a layer, what each holds at the least. */
const LEAST = 0.5;
/** How much an entry that stands for several tokens is lifted: this times the logarithm of their number. */
const LIFT = 0.3;

/**
 * Elastic Cache put right on real language models: anchors with what was merged into them, chosen and merged otherwise than in the paper.
 *
 * Turn: what the last `window` tokens attend to, the most that one of them gives, times the length of the value, averaged over `kernel` neighbours and added to the token's own. Each key
 * head keeps its own entries; how many a layer keeps follows from all layers together, the highest scores of one pool. Every other entry's value is
 * merged into the kept entry with the most similar key, weighted by score, so that a hit stays what it is and an anchor of little weight becomes the mean of what is around
 * it; keys stay as they are. The first 4 and the last 8 tokens are kept and take nothing in.
 *
 * Decode: entries of the turn go, lowest score first, until as many are left as `distance` says (all but 25 of them), then what stands behind those, the oldest first.
 *
 * Parts of it: attention of the last queries and pooling (SnapKV, arXiv 2404.14469), value norms (arXiv 2406.12335), a choice for each head (Ada-KV, arXiv 2407.11550), values merged by
 * similarity of keys (arXiv 2406.18139). docs/evaluation.md has what each is worth on real models.
 * @throws ElasticCacheError 'invalid-option'
 */
export function elasticHeads(options: PolicyOptions = {}): CachePolicy {
  const checked = checkOptions({ ...DEFAULTS, ...options });
  const { startSize, window, heads, merging, layerBudgets, peak } = checked;
  refuseOther('merging', merging, ['similar', 'none']);
  refuseOther('layerBudgets', layerBudgets, ['pool', 'uniform']);
  const merges = merging === 'similar';
  return {
    name: 'elastic-heads',
    attention: 'turn',
    window,
    peak,
    heads,
    minimum: startSize + 1,
    logCountBias: merges ? LIFT : 0,
    begin: (_layers, saved) => compressedTurn(() => methodOf(checked, merges), saved),
  };
}

function refuseOther(option: string, value: string, takes: readonly string[]): void {
  if (takes.includes(value)) return;
  throw invalid(
    `${option} is "${value}", which elastic-heads does not do; choose one of ${takes.join(', ')}.`,
  );
}

function methodOf(options: ReturnType<typeof checkOptions>, merges: boolean): Method {
  const { startSize, endSize, distance, layerBudgets, valueNorms } = options;
  const kernel = options.kernel!;
  const minimum = startSize + 1;
  const method: Method = {
    minimum,
    rank: (layers) =>
      layers.map((views) =>
        views.map((view) => {
          const scores = scoresOf(view, kernel, valueNorms);
          const tiers = protectedEnds(view.tokens, startSize, endSize);
          // Where there is no room for all of the last tokens, the newest stay.
          const ranks = scores.map((score, token) => (tiers[token] === TIER.end ? token : score));
          return { ...view, scores, ranked: once(() => rankTokens(ranks, tiers)) };
        }),
      ),
    entries(layers) {
      const { allowed } = layers[0]![0]!;
      if (layerBudgets === 'uniform') return uniform(layers.length, allowed.entries);
      const free = startSize + endSize;
      return pooledShares(
        layers.map((heads) =>
          heads.map(({ scores, ranked }) => Float64Array.from(ranked(), (at) => scores[at]!)),
        ),
        allowed.entries,
        { free, least: Math.max(minimum, Math.floor(LEAST * allowed.entries)) },
      );
    },
    evictor: (saved) => LowestFirst.from(saved),
    evictorAfter: (turn, keep) =>
      new LowestFirst(HeldTurn.of(turn, keep), fixedPointOf(keep.length, startSize, distance)),
  };
  return merges ? { ...method, merge: (turn, keep) => mergeSimilar(turn, keep, startSize, endSize) } : method;
}

/** [tokens] attention (times value norm), averaged over the neighbours, with the token's own on top */
function scoresOf({ importance, valueNorms }: TurnView, kernel: number, withNorms: boolean): Float64Array {
  const norms = withNorms ? valueNorms() : undefined;
  const own = importance.map((attention, token) => attention * (norms?.[token] ?? 1));
  return meanPooled(own, kernel).map((pooled, token) => pooled + own[token]!);
}

function mergeSimilar(
  { tokens, scores }: RankedTurn,
  keep: Int32Array,
  startSize: number,
  endSize: number,
): TurnEdit {
  const anchors = keep.filter((token) => token >= startSize && token < tokens - endSize);
  return { keep, similar: { anchors }, valuesOnly: true, weights: scores };
}
