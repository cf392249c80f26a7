import {
  type CachePolicy,
  keepAll,
  type PolicyState,
  type SequencePolicy,
  type TurnEdit,
  type TurnView,
} from '../cache/policy.js';
import { checkOptions, invalid, type PolicyOptions } from './options.js';
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
  if (!Number.isInteger(distance)) {
    throw invalid(
      `distance is ${distance}; elastic-reference takes a whole number other than 0, as the released code does.`,
    );
  }
  return {
    name: 'elastic-reference',
    attention: 'turn',
    minimum: 0,
    compactPositions: true,
    begin: (layers, saved) => beginSequence(layers, startSize, distance, saved),
  };
}

function beginSequence(
  layers: number,
  startSize: number,
  distance: number,
  saved?: PolicyState,
): SequencePolicy {
  const fixedPoints = (saved as Int32Array | undefined)?.slice() ?? new Int32Array(layers);
  /** The index at which one entry goes, of so many. A negative fixed point counts from the end, as in Python. */
  const indexOf = (length: number, layer: number): number => {
    const fixedPoint = fixedPoints[layer]!;
    return Math.min(fixedPoint < 0 ? Math.max(0, length + fixedPoint) : fixedPoint, length - 1);
  };
  const compress = (turn: TurnView, layer: number): TurnEdit => {
    const forget = Math.trunc(turn.tokens - turn.allowed.share);
    if (forget <= 0) return keepAll(turn.tokens);
    // One token over is handled as a decode step; before any fixed point was set, the first entry goes.
    if (forget === 1) {
      const index = indexOf(turn.tokens, layer);
      return { keep: range(0, turn.tokens).filter((candidate) => candidate !== index) };
    }
    fixedPoints[layer] = distance > 0 ? distance : turn.tokens - forget + distance;
    return merge(turn, forget, startSize);
  };
  return {
    compress: (views) => views.map(([view], layer) => [compress(view!, layer)]),
    evict: (entries, allowed, layer) =>
      Math.trunc(entries.length - allowed.share) <= 0 ? -1 : entries.at(indexOf(entries.length, layer)),
    save: () => fixedPoints.slice(),
  };
}

function merge({ tokens, importance }: TurnView, forget: number, startSize: number): TurnEdit {
  const last = tokens - 1;
  const order = argsort(importance.subarray(startSize, Math.max(startSize, last)));
  const places = range(0, order.length);
  const selected = places.filter((place) => order[place]! > forget).map((place) => place + startSize);
  const thrown = places.filter((place) => order[place]! <= forget);
  const keep = concat(range(0, Math.min(startSize, last)), selected, range(last, tokens));
  return selected.length === 0 ? { keep } : { keep, from: thrown, into: nearest(thrown, selected) };
}
