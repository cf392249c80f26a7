import {
  type CachePolicy,
  eachLayer,
  keepAll,
  type LayerPolicy,
  type PromptEdit,
  type PromptView,
} from '../cache/policy.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { argsort, concat, nearest, range } from './ranking.js';

/**
 * Elastic Cache as released by its authors (liuzuyan/ElasticCache, kv_cache.py), to compare with published numbers. It
 * differs from the paper: positions of the sorted order are compared with a count as if they were ranks; what is merged
 * is shifted by the protected prefix, so that a token can be kept and merged as well; one entry more than the budget says
 * is dropped; the fixed point is 0 when the prompt was not compressed; new tokens count their position in entries held.
 *
 * A prompt so short that nothing but the protected entries would stay, where the released code stops with an error,
 * keeps just those.
 * @throws ElasticCacheError 'invalid-option'
 */
export function elasticReference(options: PolicyOptions = {}): CachePolicy {
  const { startSize, distance } = checkOptions(options);
  return {
    name: 'elastic-reference',
    attention: 'prefill',
    minimum: 0,
    compactPositions: true,
    begin: (layers) => eachLayer(layers, () => beginLayer(startSize, distance)),
  };
}

function beginLayer(startSize: number, distance: number): LayerPolicy {
  let fixedPoint = 0;
  return {
    prefill(prompt) {
      const forget = Math.trunc(prompt.tokens - prompt.allowed.share);
      if (forget <= 0) return keepAll(prompt.tokens);
      // One token over is handled as a decode step, before any fixed point was set: the first entry goes.
      if (forget === 1) return { keep: range(1, prompt.tokens) };
      fixedPoint = distance > 0 ? distance : prompt.tokens - forget + distance;
      return merge(prompt, forget, startSize);
    },
    evict(entries, allowed) {
      if (Math.trunc(entries.length - allowed.share) <= 0) return -1;
      // A negative index counts from the end, as in Python.
      const index = fixedPoint < 0 ? Math.max(0, entries.length + fixedPoint) : fixedPoint;
      return entries.at(Math.min(index, entries.length - 1));
    },
  };
}

function merge({ tokens, importance }: PromptView, forget: number, startSize: number): PromptEdit {
  const last = tokens - 1;
  const order = argsort(importance.subarray(startSize, Math.max(startSize, last)));
  const places = range(0, order.length);
  const selected = places.filter((place) => order[place]! > forget).map((place) => place + startSize);
  const thrown = places.filter((place) => order[place]! <= forget);
  const keep = concat(range(0, Math.min(startSize, last)), selected, range(last, tokens));
  return selected.length === 0 ? { keep } : { keep, from: thrown, into: nearest(thrown, selected) };
}
