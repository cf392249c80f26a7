import type { PolicyOptions } from '../../src/policies/options.js';
import { type NaiveEntry, type NaivePolicy, times } from '../cache/naive-cache.js';

/** What a slow version is made of: the options of the real one, and what other methods do in another way. */
export interface NaiveOptions extends PolicyOptions {
  readonly startSize: number;
  readonly distance: number;
  readonly window: number;
  readonly scoresOf?: (list: NaiveEntry[]) => number[];
  readonly entries?: (layers: number, mean: number, tokens: number) => number[];
}

/**
 * Elastic Cache with all its options, and the methods that rank tokens likewise, over arrays of objects. `received` only
 * hands over the attention of the observation window where there is one, as the real cache is given.
 */
export function naiveRanked(options: NaiveOptions): NaivePolicy {
  const { startSize, distance, endSize = 1 } = options;
  const least = startSize + (options.scoresOf ? 1 : endSize);
  let parts: number[] = [];
  let held: number[] = [];
  let places: number[] = [];
  /** [layers] the tokens of the prompt that go before the place does, the next one first. */
  let doomed: number[][] = [];
  /** [layers] the tokens of the prompt, those to be kept longest first. */
  let orders: number[][] = [];
  let prompt = 0;
  /** Every token after the prompt, with how much of it came again. */
  const said: { position: number; key: Float32Array; repeated: number }[] = [];

  return {
    received(layers, attention) {
      layers.forEach((list, layer) => {
        list.forEach((entry, index) => {
          entry.score += attention[layer]![index]!;
        });
      });
    },

    prompt(layers, share, image) {
      const tokens = layers[0]!.length;
      prompt = tokens;
      const mean = Math.min(tokens, Math.max(least, Math.floor(share)));
      const scores = scoresOf(layers, options);
      const keys = times(tokens, (token) => directionOf(layers, token));
      orders = scores.map((own) => inOrder(own, image, keys, mean < tokens ? tokens : tokens >> 1, options));
      held =
        mean < tokens ? entriesOf(orders, scores, mean, least, options) : times(layers.length, () => tokens);
      parts = held.map((count) => count / mean);
      places = held.map((count) =>
        Math.max(startSize, distance < 0 ? count + distance : Math.min(distance, count - 1)),
      );
      doomed = held.map((count, layer) =>
        options.eviction === 'importance'
          ? orders[layer]!.slice(0, count).slice(places[layer]!).reverse()
          : [],
      );
      layers.forEach((list, layer) => {
        const kept = new Set(orders[layer]!.slice(0, held[layer]!));
        compress(list, kept, scores[layer]!, options.merging ?? 'mean');
      });
    },

    decode(layers, share, seen) {
      const mean = Math.min(seen, Math.max(least, Math.floor(share)));
      const lengths = layers.map((list) => list.length);
      while (lengths.reduce((a, b) => a + b) > mean * layers.length) {
        const above = lengths.map((length, layer) =>
          length > least ? length - parts[layer]! * mean : Number.NEGATIVE_INFINITY,
        );
        lengths[above.indexOf(Math.max(...above))]!--;
      }
      layers[0]!.forEach(({ position }, index) => {
        if (position < prompt + said.length) return;
        const fromEnd = layers[0]!.length - index;
        const key = directionOf(layers, -fromEnd);
        for (const before of said) before.repeated += Math.max(0, cosine(before.key, key)) ** 2;
        said.push({ position, key, repeated: 0 });
      });
      layers.forEach((list, layer) => {
        while (list.length > lengths[layer]!) {
          const position =
            options.eviction === 'repetition'
              ? mostRepeated(list, orders[layer]!, lengths[layer]!, said, startSize)
              : doomed[layer]!.shift();
          const index = list.findIndex((entry) => entry.position === position);
          list.splice(index >= 0 ? index : Math.min(places[layer]!, list.length - 2), 1);
        }
      });
    },
  };
}

/** Which token a layer that may hold `target` lets go: of the prompt while that is more than half, then what came again most. */
function mostRepeated(
  list: NaiveEntry[],
  order: number[],
  target: number,
  said: { position: number; repeated: number }[],
  startSize: number,
): number {
  const held = list.map(({ position }) => position);
  const prompt = order.filter((token) => held.includes(token));
  if (prompt.length > Math.max(startSize, target / 2)) return prompt.at(-1)!;
  const candidates = said.filter(
    ({ position }) => position >= startSize && position !== held.at(-1) && held.includes(position),
  );
  const most = Math.max(...candidates.map(({ repeated }) => repeated));
  return candidates.find(({ repeated }) => repeated === most)!.position;
}

function scoresOf(layers: NaiveEntry[][], options: NaiveOptions): number[][] {
  const own = layers.map(
    options.scoresOf ??
      ((list) =>
        list.map(({ score, position }) =>
          options.importance === 'mean' ? score / (list.length - position) : score,
        )),
  );
  if (options.selection !== 'shared') return own;
  return own.map(() =>
    own[0]!.map((_, token) => own.reduce((sum, layer) => sum + layer[token]!, 0) / own.length),
  );
}

/** Tokens in the order in which they are kept, so many of them chosen for their novelty where that is asked for. */
function inOrder(
  scores: number[],
  image: Uint8Array,
  keys: Float32Array[],
  count: number,
  options: NaiveOptions,
): number[] {
  const { startSize, endSize = 1, protectText, scoresOf, novelty } = options;
  const all = scores.map((_, token) => token);
  const groups = [
    (token: number) => token < startSize,
    (token: number) => token >= scores.length - (scoresOf ? 1 : endSize),
    (token: number) => protectText === true && image[token] === 0,
    () => true,
  ];
  const groupOf = (token: number) => groups.findIndex((belongs) => belongs(token));
  all.sort((a, b) => groupOf(a) - groupOf(b) || scores[b]! - scores[a]! || a - b);
  if (!novelty) return all;
  const chosen: number[] = [];
  while (chosen.length < count) {
    const worth = (token: number) => {
      const likest = Math.max(0, ...chosen.map((other) => cosine(keys[token]!, keys[other]!)));
      return scores[token]! * Math.max(0, 1 - likest) ** 2;
    };
    const group = Math.min(...all.map(groupOf));
    const candidates = all.filter((token) => groupOf(token) === group);
    const most = Math.max(...candidates.map(worth));
    const best = Math.min(...candidates.filter((token) => worth(token) === most));
    chosen.push(best);
    all.splice(all.indexOf(best), 1);
  }
  return [...chosen, ...all];
}

/** The keys of one token in all layers, one after the other, at length 1. */
function directionOf(layers: NaiveEntry[][], token: number): Float32Array {
  const key = layers.flatMap((list) => list.at(token)!.key);
  const length = Math.sqrt(key.reduce((sum, value) => sum + value * value, 0));
  return Float32Array.from(key, (value) => (length > 0 ? value / length : value));
}

function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

function entriesOf(
  orders: number[][],
  scores: number[][],
  mean: number,
  least: number,
  { layerBudgets, entries }: NaiveOptions,
): number[] {
  const tokens = scores[0]!.length;
  if (entries) return entries(orders.length, mean, tokens);
  if (layerBudgets !== 'adaptive') return times(orders.length, () => mean);
  // Every entry with the share of its layer's importance that goes before it: those with the smallest are kept.
  const all = orders.flatMap((order, layer) => {
    const total = order.reduce((sum, token) => sum + scores[layer]![token]!, 0);
    let before = 0;
    return order.map((token, rank) => {
      const entry = { layer, rank, before };
      before += total > 0 ? scores[layer]![token]! / total : 1 / tokens;
      return entry;
    });
  });
  const chosen = all
    .filter(({ rank }) => rank >= least)
    .sort((a, b) => a.before - b.before || a.layer - b.layer || a.rank - b.rank)
    .slice(0, (mean - least) * orders.length);
  return orders.map((_, layer) => least + chosen.filter((entry) => entry.layer === layer).length);
}

function compress(
  list: NaiveEntry[],
  kept: Set<number>,
  scores: number[],
  merging: 'mean' | 'weighted' | 'none',
): void {
  const anchors = list.filter((_, token) => kept.has(token));
  const groups = new Map(anchors.map((anchor) => [anchor, [anchor]]));
  if (merging !== 'none') {
    for (const token of list) {
      if (!kept.has(token.position)) groups.get(closest(anchors, token.position))!.push(token);
    }
  }
  const merged = anchors.map((anchor) => {
    const group = groups.get(anchor)!;
    const given = group.map(({ position }) => (merging === 'weighted' ? scores[position]! : 1));
    const weights = given.some((weight) => weight > 0) ? given : given.map(() => 1);
    const total = weights.reduce((a, b) => a + b);
    const mean = (name: 'key' | 'value') =>
      anchor[name].map(
        (_, i) => group.reduce((sum, entry, member) => sum + weights[member]! * entry[name][i]!, 0) / total,
      );
    return { ...anchor, count: group.length, key: mean('key'), value: mean('value') };
  });
  list.splice(0, list.length, ...merged);
}

export function closest(anchors: NaiveEntry[], position: number): NaiveEntry {
  return anchors.reduce((best, anchor) =>
    Math.abs(anchor.position - position) < Math.abs(best.position - position) ? anchor : best,
  );
}
