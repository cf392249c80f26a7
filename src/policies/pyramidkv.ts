import type { CachePolicy } from '../cache/policy.js';
import { compressedTurn } from './compressed-turn.js';
import { falling, uniform, withinOffer } from './layer-budgets.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { observationWindow } from './snapkv.js';

/** Tokens looked at (the paper's alpha) and how many times the mean the last layer's budget goes into it (its beta). */
const WINDOW = 8;
const BETA = 20;

/**
 * PyramidKV (Cai et al., arXiv 2406.02069, section 4): entries are chosen as in `snapkv`, and the budgets of the layers fall arithmetically from the first
 * to the last; their mean is the budget. Every layer keeps the window on top of its share; without room for one, the layers share equally.
 *
 * Decode: as `snapkv`; each layer's part of the budget stays what it was.
 * @throws ElasticCacheError 'invalid-option'
 */
export function pyramidkv(options: PolicyOptions = {}): CachePolicy {
  const { startSize, distance, window = WINDOW } = checkOptions(options);
  const method = observationWindow({ startSize, distance, window }, (layers) => {
    const { allowed } = layers[0]![0]!;
    const offered = layers.map(([turn]) => turn!.tokens);
    const everywhere = startSize + window;
    const rest = allowed.entries - everywhere;
    if (rest <= 0) return withinOffer(uniform(layers.length, allowed.entries), offered);
    const most = Math.max(...offered) - everywhere;
    const entries = falling(layers.length, rest, most, BETA).map((each) => each + everywhere);
    return withinOffer(entries, offered);
  });
  return {
    name: 'pyramidkv',
    attention: 'turn',
    window,
    layers: 'unequal',
    minimum: method.minimum,
    begin: (_layers, saved) => compressedTurn(() => method, saved),
  };
}
