import type { CachePolicy, TurnView } from '../cache/policy.js';
import { compressedTurn, type Method } from './compressed-turn.js';
import { fixedPointOf, HeldTurn, LowestFirst } from './evictors.js';
import { maxPooled } from './importance.js';
import { uniform } from './layer-budgets.js';
import { checkOptions, type PolicyOptions } from './options.js';
import type { RankedTurn } from './ranked-tokens.js';
import { protectedEnds, rankTokens, TIER } from './ranked-tokens.js';
import { once } from './ranking.js';

/** Last tokens of the prompt that are looked at, and the tokens pooled, in the paper's LongBench runs. */
const WINDOW = 32;
const KERNEL = 7;

/**
 * SnapKV (Li et al., NeurIPS 2024, arXiv 2404.14469, section 4), every layer by itself.
 *
 * Prompt: the last `window` tokens are kept, and of those before them the ones that these attend to most, max-pooled over their neighbours. In the paper each
 * head keeps its own; here heads share entries, so attention is their mean. The first `startSize` entries are kept too, and of a window larger than
 * the budget its last tokens.
 *
 * Decode: the paper keeps all new tokens. Here the budget holds: prompt entries go, lowest ranked first, until as many are left as `distance`
 * says (all but 25 of them), then what stands behind those, the oldest first.
 * @throws ElasticCacheError 'invalid-option'
 */
export function snapkv(options: PolicyOptions = {}): CachePolicy {
  const { startSize, distance, window = WINDOW } = checkOptions(options);
  const method = observationWindow({ startSize, distance, window }, (layers) =>
    uniform(layers.length, layers[0]![0]!.allowed.entries),
  );
  return {
    name: 'snapkv',
    attention: 'turn',
    window,
    minimum: method.minimum,
    begin: (_layers, saved) => compressedTurn(() => method, saved),
  };
}

/** Keeps the window and what it attends to: SnapKV's choice, and PyramidKV's. */
export function observationWindow(
  { startSize, distance, window }: { startSize: number; distance: number; window: number },
  entries: Method['entries'],
): Method {
  return {
    minimum: startSize + 1,
    rank: (layers) => layers.map((views) => views.map((view) => rankByWindow(view, startSize, window))),
    entries,
    evictor: (saved) => LowestFirst.from(saved),
    evictorAfter: (turn, keep) =>
      new LowestFirst(HeldTurn.of(turn, keep), fixedPointOf(keep.length, startSize, distance)),
  };
}

function rankByWindow(turn: TurnView, startSize: number, window: number): RankedTurn {
  const { tokens, fresh, importance } = turn;
  const prefix = Math.max(0, tokens - Math.min(window, fresh));
  const scores = new Float64Array(tokens);
  scores.set(maxPooled(importance.subarray(0, prefix), KERNEL));
  const tiers = protectedEnds(tokens, startSize, 1);
  for (let token = prefix; token < tokens; token++) {
    tiers[token] = Math.max(tiers[token]!, TIER.window);
    // The window slides: the later a token, the longer it stays.
    scores[token] = token;
  }
  return { ...turn, scores, ranked: once(() => rankTokens(scores, tiers)) };
}
