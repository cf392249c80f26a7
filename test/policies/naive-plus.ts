import { type NaiveEntry, type Situation, times } from '../cache/naive-cache.js';
import { cosine, directionOf, fromOnePool, type NaiveOptions } from './naive-ranked.js';

/**
 * elastic-plus, as its text has it: the attention of the last queries times the length of the value (by the mean of its layer, unless there are images and no windows), with the mean of its neighbours; images by what is attended to and unlike what
 * was chosen; values go to the entry with the likest key.
 */
export function plus(options: NaiveOptions): NaiveOptions {
  const { startSize, endSize = 8, merging = 'similar', eviction = 'repetition', layerBudgets } = options;
  const least = startSize + 1;
  return {
    ...options,
    endSize,
    merging,
    eviction,
    heads: options.heads ?? 'unequal',
    peak: options.peak ?? true,
    least,
    scoresOf: (_, situation, index, lists) => pooled(lists, index, options, situation),
    mergeable: inSight,
    // A value that is short rests the attention, and goes on doing so.
    taking: (list, headDim) =>
      options.valueNorms === false
        ? list
        : list.filter((entry) => lengthOf(entry, headDim) >= meanLength(list, headDim) / 2),
    orders: (lists, scores, situation, mean) => {
      const pictures = picturesInOrder(lists, situation, mean, options.novelty ?? true);
      return lists.map((list, index) => order(list, scores[index]!, pictures, situation, mean, options));
    },
    entries: (mean, offered, ranked) =>
      layerBudgets === 'uniform'
        ? offered.map(() => mean)
        : fromOnePool(
            mean,
            offered,
            // All heads of a layer hold as many: an entry more is worth what each of them has at that rank.
            ranked.map((heads) => [
              heads[0]!.map((_, rank) => heads.reduce((sum, own) => sum + own[rank]!, 0) / heads.length),
            ]),
            startSize + endSize,
            Math.max(least, Math.floor(mean / 2)),
          ),
  };
}

function pooled(
  lists: NaiveEntry[][],
  index: number,
  { kernel = 13, valueNorms = true }: NaiveOptions,
  situation: Situation,
): number[] {
  const { choices, headDim } = situation;
  const first = index - (index % choices);
  const means = lists.slice(first, first + choices).map((other, head) => {
    const seen = inSight(other, situation, first + head);
    return meanLength(seen, headDim);
  });
  const pictured = !situation.windows?.some((window) => window) && holdsPictures(lists, situation);
  const ofLayer = pictured ? 1 : means.reduce((sum, each) => sum + each, 0) / means.length || 1;
  const own = lists[index]!.map((entry) =>
    valueNorms ? entry.score * (lengthOf(entry, headDim) / ofLayer) : entry.score,
  );
  const reach = (kernel - 1) / 2;
  const seen = inSight(lists[index]!, situation, index);
  return own.map((score, at) => {
    if (!seen.includes(lists[index]![at]!)) return 0;
    const near = own.slice(Math.max(0, at - reach), at + reach + 1);
    return near.reduce((sum, other) => sum + other, 0) / near.length + score;
  });
}

function holdsPictures(lists: NaiveEntry[][], { image }: Situation): boolean {
  return lists.flat().some(({ position }) => image[position] === 1);
}

/** What the next token sees. */
function inSight(list: NaiveEntry[], { windows, choices, seen }: Situation, index: number): NaiveEntry[] {
  const window = windows?.[Math.floor(index / choices)] ?? Number.POSITIVE_INFINITY;
  return list.filter(({ position }) => seen - position < window);
}

/** How long its value is, on average over the heads that share it. */
function lengthOf({ value }: NaiveEntry, headDim: number): number {
  const heads = value.length / headDim;
  const lengths = times(heads, (head) => Math.hypot(...value.slice(head * headDim, (head + 1) * headDim)));
  return lengths.reduce((sum, length) => sum + length / heads, 0);
}

function meanLength(list: NaiveEntry[], headDim: number): number {
  return list.reduce((sum, entry) => sum + lengthOf(entry, headDim), 0) / Math.max(1, list.length);
}

/** Positions of image tokens that any list holds: those that fit one after the other by their worth beside those before them, then the others. */
function picturesInOrder(
  lists: NaiveEntry[][],
  { image }: Situation,
  mean: number,
  novelty: boolean,
): number[] {
  const left = times(image.length, (position) => ({
    position,
    key: directionOf(lists, position),
    held: lists.flatMap((list) => list.filter((entry) => entry.position === position)),
  }))
    .filter(({ position, held }) => image[position] === 1 && held.length > 0)
    .map(({ position, key, held }) => ({
      position,
      key,
      score: held.reduce((sum, { score }) => sum + score, 0) / held.length,
    }));
  const chosen: typeof left = [];
  const worth = ({ key, score }: (typeof left)[number]) => {
    const likest = Math.max(0, ...chosen.map((other) => cosine(key, other.key)));
    return score * Math.max(0, 1 - likest) ** 2;
  };
  const fit = Math.max(...lists.map((list) => Math.min(mean, list.length)));
  while (novelty && left.length > 0 && chosen.length < fit) {
    const worths = left.map(worth);
    chosen.push(...left.splice(worths.indexOf(Math.max(...worths)), 1));
  }
  left.sort((a, b) => b.score - a.score || a.position - b.position);
  return [...chosen, ...left].map(({ position }) => position);
}

/** The first and the last tokens, then text and pictures zipped in proportion to how many of each there is room for, then the rest. */
function order(
  list: NaiveEntry[],
  scores: number[],
  pictures: number[],
  { image }: Situation,
  mean: number,
  { startSize, endSize = 8, protectText = true }: NaiveOptions,
): number[] {
  const all = times(list.length, (candidate) => candidate);
  const isPicture = (candidate: number) => image[list[candidate]!.position] === 1;
  const starts = all.slice(0, startSize);
  const ends = all.slice(Math.max(startSize, list.length - endSize)).reverse();
  const middle = all.slice(startSize, Math.max(startSize, list.length - endSize));
  middle.sort((a, b) => scores[b]! - scores[a]! || a - b);
  if (!all.some(isPicture)) return [...starts, ...ends, ...middle];
  const room = Math.min(list.length, mean);
  const always = [...starts, ...ends].slice(0, room);
  const free = room - always.length;
  const others = [...starts, ...ends, ...middle].filter((candidate) => !always.includes(candidate));
  const texts = others.filter((candidate) => !isPicture(candidate));
  const shown = pictures
    .map((position) => list.findIndex((entry) => entry.position === position))
    .filter((candidate) => others.includes(candidate));
  const count = all.filter(isPicture).length;
  const share = (room * count) / list.length;
  const granted = protectText
    ? Math.min(count, Math.max(Math.round(share / 2), room - (list.length - count)))
    : Math.round(share);
  const pictured = Math.max(free - texts.length, Math.min(granted, free, shown.length));
  const zipped = [...texts.slice(0, free - pictured), ...shown.slice(0, pictured)].sort(
    (a, b) => at(a) - at(b),
  );
  return [...always, ...zipped, ...texts.slice(free - pictured), ...shown.slice(pictured)];

  function at(candidate: number): number {
    const [own, fitting] = isPicture(candidate) ? [shown, pictured] : [texts, free - pictured];
    return (own.indexOf(candidate) + 0.5) / fitting;
  }
}
