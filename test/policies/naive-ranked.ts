import type { PolicyOptions } from '../../src/policies/options.js';
import { meanOf, type NaiveEntry, type NaivePolicy, type Situation, times } from '../cache/naive-cache.js';

/** What a slow version is made of: the options of the real one, and what other methods do in another way. */
export interface NaiveOptions extends PolicyOptions {
  readonly startSize: number;
  readonly distance: number;
  readonly window: number;
  readonly scoresOf?: (
    list: NaiveEntry[],
    situation: Situation,
    index: number,
    lists: NaiveEntry[][],
  ) => number[];
  /** Entries that may be merged into others; all without it. */
  readonly mergeable?: (list: NaiveEntry[], situation: Situation, index: number) => NaiveEntry[];
  /** Entries that take others in, of those mergeable; all without it. */
  readonly taking?: (mergeable: NaiveEntry[], headDim: number) => NaiveEntry[];
  /** Entries that a layer keeps in any case; all that are never anchors or merged without it. */
  readonly least?: number;
  /** [lists] candidates in the order in which they are kept, for a method that has an order of its own. @param mean entries allowed */
  readonly orders?: (
    lists: NaiveEntry[][],
    scores: number[][],
    situation: Situation,
    mean: number,
  ) => number[][];
  /** @param offered [layers] candidates of each @param ranked [layers] of [choices] of scores, the highest ranked first */
  readonly entries?: (mean: number, offered: number[], ranked: number[][][]) => number[];
}

/** Elastic Cache with all its options, and the methods that rank tokens likewise, over arrays of objects. */
export function naiveRanked(options: NaiveOptions): NaivePolicy {
  const { startSize, distance, endSize = 1 } = options;
  const least = options.least ?? startSize + endSize;
  let parts: number[] = [];
  let places: number[] = [];
  /** [lists] positions of the last turn that go before the place does, the next one first. */
  let doomed: number[][] = [];
  /** [lists] positions of the last turn, those to be kept longest first. */
  let orders: number[][] = [];
  /** Every token after the last turn, with how much of it came again. */
  let said: { position: number; key: Float32Array; repeated: number }[] = [];
  let before = 0;
  /** Lists that hold as many entries as each other. */
  const together = ({ choices }: Situation) => (options.heads === 'unequal' ? 1 : choices);

  return {
    window:
      options.importance === 'max'
        ? Number.MAX_SAFE_INTEGER
        : options.importance === 'window' || options.scoresOf
          ? options.window
          : undefined,
    peak: options.peak === true || options.importance === 'max',
    always: options.eviction === 'frequency',

    turn(lists, situation) {
      const { share, seen } = situation;
      const choices = together(situation);
      const mean = Math.min(seen, Math.max(least, Math.floor(share)));
      const layers = byLayer(lists, choices);
      const offered = layers.map(([first]) => first!.length);
      const fits = sum(offered) <= mean * layers.length;
      const scores = scoresOf(lists, options, situation);
      const ranked =
        options.orders?.(lists, scores, situation, mean) ??
        lists.map((list, index) => {
          const keys = list.map(({ position }) => directionOf(lists, position));
          const isText = list.map(({ position }) => situation.image[position] === 0);
          return inOrder(scores[index]!, isText, keys, fits ? list.length >> 1 : list.length, options);
        });
      const inRank = ranked.map((order, index) => order.map((candidate) => scores[index]![candidate]!));
      const held = fits ? offered : entriesOf(byLayer(inRank, choices), mean, least, offered, options);
      parts = held.map((count) => count / (sum(held) / held.length));
      const heldOf = (index: number) => held[Math.floor(index / choices)]!;
      places = lists.map((_, index) => Math.max(startSize, placeOf(distance, heldOf(index))));
      orders = lists.map((list, index) =>
        ranked[index]!.slice(0, heldOf(index)).map((candidate) => list[candidate]!.position),
      );
      doomed = orders.map((order, index) =>
        options.eviction === 'importance' ? order.slice(places[index]!).reverse() : [],
      );
      said = [];
      before = seen;
      if (fits) return;
      lists.forEach((list, index) => {
        const mergeable = options.mergeable?.(list, situation, index) ?? list;
        compress(list, new Set(orders[index]), scores[index]!, options, situation.headDim, mergeable);
      });
    },

    step(lists, situation) {
      const { share, seen } = situation;
      const choices = together(situation);
      const mean = Math.min(seen, Math.max(least, Math.floor(share)));
      const lengths = byLayer(lists, choices).map(([first]) => first!.length);
      while (sum(lengths) > mean * lengths.length) {
        const above = lengths.map((length, layer) =>
          length > least ? length - parts[layer]! * mean : Number.NEGATIVE_INFINITY,
        );
        lengths[above.indexOf(Math.max(...above))]!--;
      }
      const key = directionOf(lists, seen - 1);
      for (const other of said) {
        const held = lists.some((list) => list.some(({ position }) => position === other.position));
        if (held) other.repeated += Math.max(0, cosine(other.key, key)) ** 2;
      }
      said.push({ position: seen - 1, key, repeated: 0 });
      lists.forEach((list, index) => {
        const length = lengths[Math.floor(index / choices)]!;
        while (list.length > length) {
          if (options.eviction === 'frequency') {
            removeLeast(list, startSize, length);
            continue;
          }
          const position =
            options.eviction === 'repetition'
              ? mostRepeated(list, orders[index]!, length, said, startSize, before)
              : doomed[index]!.shift();
          const at = list.findIndex((entry) => entry.position === position);
          list.splice(at >= 0 ? at : Math.min(places[index]!, list.length - 2), 1);
        }
      });
    },
  };
}

/** A fixed point as it is told: before the end, after the start, or at a share of what is held. */
function placeOf(distance: number, held: number): number {
  if (distance < 0) return held + distance;
  return distance < 1 ? Math.round(distance * (held - 1)) : Math.min(distance, held - 1);
}

/** What received the least goes, the first tokens and the recent half of what a layer may hold left out. */
function removeLeast(list: NaiveEntry[], startSize: number, target: number): void {
  const recent = Math.max(1, Math.floor((target - startSize) / 2));
  const candidates = list.slice(startSize, list.length - recent);
  const least = Math.min(...candidates.map(({ score }) => score));
  list.splice(list.indexOf(candidates.find(({ score }) => score === least)!), 1);
}

/** [layers] of [choices] */
function byLayer<T>(lists: readonly T[], choices: number): T[][] {
  return times(lists.length / choices, (layer) => lists.slice(layer * choices, (layer + 1) * choices));
}

/** Which token a layer that may hold `target` lets go: of the turn while that is more than two thirds, then what came again most. */
function mostRepeated(
  list: NaiveEntry[],
  order: number[],
  target: number,
  said: { position: number; repeated: number }[],
  startSize: number,
  before: number,
): number {
  const held = list.map(({ position }) => position);
  const turn = order.filter((position) => held.includes(position));
  if (turn.length > Math.max(startSize, (target * 2) / 3)) return turn.at(-1)!;
  const first = Math.max(before, held[startSize] ?? before);
  const candidates = said.filter(
    ({ position }) => position >= first && position !== held.at(-1) && held.includes(position),
  );
  const most = Math.max(...candidates.map(({ repeated }) => repeated));
  return candidates.find(({ repeated }) => repeated === most)!.position;
}

function scoresOf(layers: NaiveEntry[][], options: NaiveOptions, situation: Situation): number[][] {
  const own = layers.map(
    (list, index) =>
      options.scoresOf?.(list, situation, index, layers) ??
      list.map(({ score, queries }) =>
        options.importance === 'mean' ? score / Math.max(1, queries) : score,
      ),
  );
  if (options.selection !== 'shared') return own;
  return own.map(() =>
    own[0]!.map((_, token) => own.reduce((total, layer) => total + layer[token]!, 0) / own.length),
  );
}

/** Candidates in the order in which they are kept, so many of them chosen for their novelty where that is asked for. */
export function inOrder(
  scores: number[],
  isText: boolean[],
  keys: Float32Array[],
  count: number,
  options: NaiveOptions,
): number[] {
  const { startSize, endSize = 1, protectText, novelty, least } = options;
  const all = scores.map((_, token) => token);
  const groups = [
    (token: number) => token < startSize,
    (token: number) => token >= scores.length - endSize,
    (token: number) => protectText === true && isText[token]!,
    () => true,
  ];
  const groupOf = (token: number) => groups.findIndex((belongs) => belongs(token));
  // Where not all of the last tokens must fit, the newest do.
  const worth = (token: number) => (least !== undefined && groupOf(token) === 1 ? token : scores[token]!);
  all.sort((a, b) => groupOf(a) - groupOf(b) || worth(b) - worth(a) || a - b);
  if (!novelty) return all;
  const chosen: number[] = [];
  while (chosen.length < count) {
    const novelWorth = (token: number) => {
      const likest = Math.max(0, ...chosen.map((other) => cosine(keys[token]!, keys[other]!)));
      return scores[token]! * Math.max(0, 1 - likest) ** 2;
    };
    const group = Math.min(...all.map(groupOf));
    const candidates = all.filter((token) => groupOf(token) === group);
    const worths = candidates.map(novelWorth);
    const best = candidates
      .filter((_, index) => worths[index] === Math.max(...worths))
      .reduce((first, token) => Math.min(first, token));
    chosen.push(best);
    all.splice(all.indexOf(best), 1);
  }
  return [...chosen, ...all];
}

/** The keys of one token in all layers, one after the other, at length 1; zeros where a layer has let it go. */
export function directionOf(layers: NaiveEntry[][], position: number): Float32Array {
  const key = layers.flatMap((list) => {
    const held = list.find((entry) => entry.position === position);
    return held?.key ?? list[0]!.key.map(() => 0);
  });
  const length = Math.sqrt(key.reduce((total, value) => total + value * value, 0));
  return Float32Array.from(key, (value) => (length > 0 ? value / length : value));
}

export function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0);
}

/** @param ranked [layers, or lists] of [choices] of scores, the highest ranked first */
function entriesOf(
  ranked: number[][][],
  mean: number,
  least: number,
  offered: number[],
  { selection, layerBudgets, entries }: NaiveOptions,
): number[] {
  if (entries) return entries(mean, offered, ranked);
  if (selection === 'shared') return times(offered.length, () => mean);
  if (layerBudgets === 'pool') return fromOnePool(mean, offered, ranked, least, least);
  if (layerBudgets !== 'adaptive') return times(offered.length, () => mean);
  // Every entry with the share of its layer's importance that goes before it: those with the smallest are kept.
  const all = ranked.flatMap((heads, layer) => {
    // What the heads have on average at each rank.
    const scores = heads[0]!.map((_, rank) => sum(heads.map((own) => own[rank]!)) / heads.length);
    const total = sum(scores);
    let before = 0;
    return scores.map((score, rank) => {
      const entry = { layer, rank, before };
      before += total > 0 ? score / total : 1 / scores.length;
      return entry;
    });
  });
  const chosen = all
    .filter(({ rank }) => rank >= least)
    .sort((a, b) => a.before - b.before || a.layer - b.layer || a.rank - b.rank)
    .slice(0, (mean - least) * ranked.length);
  return offered.map((_, layer) => least + chosen.filter((entry) => entry.layer === layer).length);
}

/**
 * As many entries of each layer as it has among the highest scores of all; a layer below `least` gets those, and the others give them up in proportion to what
 * they are above it.
 * @param free entries of each list, the first, that are kept whatever their scores
 */
export function fromOnePool(
  mean: number,
  offered: number[],
  ranked: number[][][],
  free: number,
  least: number,
): number[] {
  const layers = offered.length;
  const choices = ranked[0]!.length;
  const pool = ranked.flatMap((lists, layer) =>
    lists.flatMap((scores) => scores.slice(free).map((score) => ({ score, layer }))),
  );
  const best = pool
    .sort((a, b) => b.score - a.score || a.layer - b.layer)
    .slice(0, Math.max(0, mean - free) * layers * choices);
  const wanted = offered.map((most, layer) =>
    Math.min(most, Math.min(free, mean) + best.filter((each) => each.layer === layer).length / choices),
  );
  const floor = Math.min(least, mean);
  const above = wanted.map((count) => Math.max(0, count - floor));
  const room = layers * (mean - floor);
  const shares = above.map((count) => floor + (sum(above) > 0 ? (count * room) / sum(above) : room / layers));
  const entries = shares.map((share, layer) => Math.min(Math.floor(share), offered[layer]!));
  const byRest = times(layers, (layer) => layer).sort(
    (a, b) => shares[b]! - Math.floor(shares[b]!) - (shares[a]! - Math.floor(shares[a]!)) || a - b,
  );
  while (sum(entries) < layers * mean) {
    for (const layer of byRest)
      if (sum(entries) < layers * mean && entries[layer]! < offered[layer]!) entries[layer]!++;
  }
  return entries;
}

/** @param kept positions */
function compress(
  list: NaiveEntry[],
  kept: Set<number>,
  scores: number[],
  { merging = 'mean', startSize, endSize = 1, least, mergeInto, taking: takingOf }: NaiveOptions,
  headDim: number,
  mergeable: NaiveEntry[],
): void {
  const scoreOf = new Map(list.map((entry, index) => [entry, scores[index]!]));
  const anchors = list.filter(({ position }) => kept.has(position));
  const groups = new Map(anchors.map((anchor) => [anchor, [anchor]]));
  // What is kept in any case takes nothing in where that is asked for, or where there is a least of its own.
  const open =
    least === undefined && mergeInto !== 'anchors'
      ? list
      : list.slice(startSize, Math.max(0, list.length - endSize));
  const willing = takingOf?.(mergeable, headDim) ?? list;
  const taking = anchors.filter((anchor) => open.includes(anchor) && willing.includes(anchor));
  if (merging !== 'none' && taking.length > 0) {
    for (const entry of mergeable) {
      if (kept.has(entry.position)) continue;
      const into = merging === 'similar' ? likest(taking, entry, headDim) : closest(taking, entry.position);
      groups.get(into)!.push(entry);
    }
  }
  const weightOf = merging === 'mean' ? undefined : (entry: NaiveEntry) => scoreOf.get(entry)!;
  const merged = anchors.map((anchor) => {
    const group = groups.get(anchor)!;
    if (group.length === 1) return anchor;
    const { key, value, count } = meanOf(group, weightOf);
    return { ...anchor, value, count, key: merging === 'similar' ? anchor.key : key };
  });
  list.splice(0, list.length, ...merged);
}

/** The one whose key is most like that of an entry, by the cosine, summed over the heads. */
function likest(anchors: NaiveEntry[], { key }: NaiveEntry, headDim: number): NaiveEntry {
  const directions = (keys: number[]) =>
    times(keys.length / headDim, (head) => {
      const own = keys.slice(head * headDim, (head + 1) * headDim);
      const length = Math.sqrt(sum(own.map((value) => value ** 2)));
      return own.map((value) => (length > 0 ? Math.fround(value * (1 / length)) : 0));
    });
  const own = directions(key);
  const likeness = anchors.map((anchor) =>
    sum(directions(anchor.key).map((head, index) => sum(head.map((value, i) => value * own[index]![i]!)))),
  );
  return anchors[likeness.indexOf(Math.max(...likeness))]!;
}

export function closest(anchors: NaiveEntry[], position: number): NaiveEntry {
  return anchors.reduce((best, anchor) =>
    Math.abs(anchor.position - position) < Math.abs(best.position - position) ? anchor : best,
  );
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
