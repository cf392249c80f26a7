import type { CachePolicy, PolicyState, TurnEdit, TurnView } from '../cache/policy.js';
import { compressedTurn, type Method } from './compressed-turn.js';
import { evictionOf } from './eviction.js';
import { meanPooled } from './importance.js';
import { pooledShares } from './layer-budgets.js';
import { checkOptions, invalid, type PolicyOptions } from './options.js';
import type { RankedTurn } from './ranked-tokens.js';
import { protectedEnds, rankTokens, TIER } from './ranked-tokens.js';
import { concat, inOrder, mean, meanByRank, once } from './ranking.js';
import { imageOrder, imageShare, textAndImage } from './text-and-image.js';

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
  heads: 'unequal',
  layerBudgets: 'pool',
  merging: 'similar',
  // An image is covered, not searched: what will be asked of it next is not what was asked last.
  novelty: true,
  protectText: true,
  eviction: 'repetition',
  reread: false,
} satisfies PolicyOptions;

/** Where a turn is read once more, each of its tokens is looked up by itself: what stands beside it, and how long its value is, only blur that. */
const REREAD = { ...DEFAULTS, kernel: 1, valueNorms: false };

/** What it reads, whatever is given. */
export function elasticPlusOptions({ eviction, reread }: PolicyOptions): (keyof PolicyOptions)[] {
  const read = Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[];
  const all = reread ? read.filter((name) => name !== 'window') : read;
  return (eviction ?? DEFAULTS.eviction) === 'repetition' ? all : [...all, 'distance'];
}

/** Of the mean entries of a layer, what each holds at the least. */
const LEAST = 0.5;
/** The same where a turn is read once more: what looks things up is a few heads, which want nearly all of it. */
const LEAST_REREAD = 0.2;
/** How much an entry that stands for several tokens is lifted: this times the logarithm of their number. */
const LIFT = 0.3;
/** Values below this part of the mean length of their head are short. */
const SHORT = 0.5;

/**
 * Elastic Cache put right on real language models: anchors with what was merged into them, chosen and merged otherwise than in the paper.
 *
 * Turn, text: what the last `window` tokens attend to, the most that one of them gives, times the length of the value (by the mean of its layer, unless there are images), averaged over `kernel` neighbours and added to the
 * token's own. Image: the same for all layers and heads, what these tokens attend to times how unlike it is to what was chosen before, so that few
 * tokens cover the picture. Text goes first as long as the image keeps half of its share. Each key head keeps its own entries; how many a layer keeps
 * follows from all layers together, the highest scores of one pool. Every other entry's value is merged into the kept entry with the most similar key, weighted by score, so
 * that a hit stays what it is and an anchor of little weight becomes the mean of what is around it; keys stay as they are. The first 4 and the last 8 tokens
 * are kept and take nothing in, nor do short values; what lies outside a sliding window is let go.
 *
 * With `reread`, a turn is read once more and what counts is the most that one of its tokens gives then, by itself: for questions that come later.
 *
 * Decode: entries of the turn go, lowest ranked first, until they are two thirds of what is held; then, of those that came after it, the one that was most said again.
 *
 * Parts of it: attention of the last queries and pooling (SnapKV, arXiv 2404.14469), value norms (arXiv 2406.12335), a choice for each head (Ada-KV, arXiv 2407.11550), values
 * merged by similarity of keys (arXiv 2406.18139). docs/evaluation.md has what each is worth.
 * @throws ElasticCacheError 'invalid-option'
 */
export function elasticPlus(options: PolicyOptions = {}): CachePolicy {
  const checked = checkOptions({ ...(options.reread ? REREAD : DEFAULTS), ...options });
  const { reread, startSize, window, heads, merging, layerBudgets, peak, novelty, eviction } = checked;
  refuseOther('merging', merging, ['similar', 'none']);
  refuseOther('layerBudgets', layerBudgets, ['pool', 'uniform']);
  refuseOther('eviction', eviction, ['repetition', 'fixed-point', 'importance']);
  const merges = merging === 'similar';
  return {
    name: 'elastic-plus',
    attention: 'turn',
    ...(reread ? { reread } : { window }),
    peak,
    heads,
    layers: layerBudgets === 'uniform' ? 'equal' : 'unequal',
    minimum: startSize + 1,
    needsKeys: novelty || eviction === 'repetition',
    logCountBias: merges ? LIFT : 0,
    begin: (_layers, saved) => compressedTurn((own) => methodOf(checked, own), saved),
  };
}

function refuseOther(option: string, value: string, takes: readonly string[]): void {
  if (takes.includes(value)) return;
  throw invalid(
    `${option} is "${value}", which elastic-plus does not do; choose one of ${takes.join(', ')}.`,
  );
}

function methodOf(options: ReturnType<typeof checkOptions>, saved?: PolicyState): Method {
  const { startSize, endSize, layerBudgets, merging, reread } = options;
  const share = reread ? LEAST_REREAD : LEAST;
  const minimum = startSize + 1;
  const { restart, ...evicting } = evictionOf(options, saved);
  const method: Method = {
    minimum,
    heads: options.heads,
    rank(layers) {
      restart(layers);
      return rank(layers, options);
    },
    entries(parts, layers) {
      const { entries } = parts[0]![0]!.allowed;
      const ranked = parts.map((heads) => [
        meanByRank(heads.map(({ scores, ranked }) => inOrder(scores, ranked()))),
      ]);
      const pooled = (some: typeof ranked) =>
        pooledShares(some, entries, {
          free: startSize + endSize,
          least: Math.max(minimum, Math.floor(share * entries)),
        });
      if (layerBudgets === 'pool') return pooled(ranked);
      const size = parts.length / layers;
      return concat(
        ...Array.from({ length: layers }, (_, layer) =>
          pooled(ranked.slice(layer * size, (layer + 1) * size)),
        ),
      );
    },
    ...evicting,
  };
  return merging === 'none'
    ? method
    : { ...method, merge: (turn, keep) => mergeSimilar(turn, keep, startSize, endSize) };
}

/** [layers] of [heads] the candidates in the order in which they are kept. */
function rank(
  layers: readonly (readonly TurnView[])[],
  options: ReturnType<typeof checkOptions>,
): RankedTurn[][] {
  const { startSize, endSize, kernel, valueNorms, protectText, novelty } = options;
  const images = imageOrder(layers, novelty);
  const byLayer = lengthsAreOfTheirLayer(layers.flat());
  return layers.map((views) => {
    const lengths = valueNorms ? lengthsOf(views, byLayer) : undefined;
    return views.map((view, head) => {
      const scores = scoresOf(view, kernel!, lengths?.[head]);
      const ranked = once(() => {
        const tiers = protectedEnds(view.tokens, startSize, endSize);
        const text = rankTokens(newestOfEnd(scores, tiers), tiers);
        if (!view.image?.includes(1)) return text;
        return textAndImage(view, text, images(), {
          first: startSize + endSize,
          image: imageShare(view, protectText),
        });
      });
      return { ...view, scores, lengths: lengths?.[head], ranked };
    });
  });
}

/** Where there is no room for all of the last tokens, the newest stay. */
function newestOfEnd(scores: Float64Array, tiers: Uint8Array): Float64Array {
  const newest = scores.slice();
  for (let token = tiers.indexOf(TIER.end); token >= 0 && token < newest.length; token++) {
    if (tiers[token] === TIER.end) newest[token] = token;
  }
  return newest;
}

/**
 * How long values are is a layer's own matter: in Gemma 3 those of the first layer are ten times as long as most, and what comes of them is brought to one length afterwards, so that lengths as they are would
 * give that layer the pool. What a picture's tokens add up to is another matter: where long values are those of the upper layers, these are the ones that look at it again and again, and want more of it.
 */
function lengthsAreOfTheirLayer(views: readonly TurnView[]): boolean {
  const windows = views.some(({ slidingWindow }) => slidingWindow !== undefined);
  return windows || !views.some(({ image }) => image?.includes(1));
}

/** [heads] of [tokens] the length of each value, by the mean length in its layer where told */
function lengthsOf(views: readonly TurnView[], byLayer: boolean): Float64Array[] {
  const norms = views.map((view) => view.valueNorms());
  if (!byLayer) return norms;
  const means = norms.map((each, head) => mean(each.subarray(firstInSight(views[head]!))));
  const ofLayer = mean(Float64Array.from(means)) || 1;
  return norms.map((each) => each.map((norm) => norm / ofLayer));
}

/** [tokens] attention (times the length of the value), averaged over the neighbours, with the token's own on top; 0 for what no later token sees. */
function scoresOf(view: TurnView, kernel: number, lengths: Float64Array | undefined): Float64Array {
  const own = view.importance.slice();
  if (lengths) for (let token = 0; token < own.length; token++) own[token]! *= lengths[token]!;
  const scores = meanPooled(own, kernel);
  for (let token = 0; token < own.length; token++) scores[token]! += own[token]!;
  return scores.fill(0, 0, firstInSight(view));
}

/** The first candidate that the next token sees: all, but for layers with a sliding window. */
function firstInSight({ positions, tokens, slidingWindow }: TurnView): number {
  if (slidingWindow === undefined) return 0;
  const oldest = positions[tokens - 1]! + 2 - slidingWindow;
  const first = positions.findIndex((position) => position >= oldest);
  return first < 0 ? tokens : first;
}

/**
 * What is out of sight is neither averaged nor counted. The ends take nothing in, nor do short values: what is attended to for its short value is a place where attention rests
 * (the first token, where a layer sees it), and with others' values in it, it would say something.
 */
function mergeSimilar(turn: RankedTurn, keep: Int32Array, startSize: number, endSize: number): TurnEdit {
  const { tokens, scores, lengths } = turn;
  const start = firstInSight(turn);
  const short = lengths ? SHORT * mean(lengths.subarray(start)) : 0;
  const anchors = keep.filter(
    (token) =>
      token >= Math.max(start, startSize) && token < tokens - endSize && (lengths?.[token] ?? 1) >= short,
  );
  return { keep, similar: { anchors, start }, valuesOnly: true, weights: scores };
}
