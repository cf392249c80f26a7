import { meanOf, type NaiveEntry, type NaivePolicy, times } from '../cache/naive-cache.js';
import { closest, type NaiveOptions, naiveRanked } from './naive-ranked.js';

/** The methods written over arrays of objects, in the words of their papers (or of the released code): oracles only. */
export const naivePolicies: Record<string, (options: NaiveOptions) => NaivePolicy> = {
  full: () => ({ received: accumulate, prompt() {}, decode() {} }),

  local: ({ startSize }) =>
    exact(startSize, {
      prompt: (list, target) => list.splice(startSize, list.length - target),
      evict: (list) => list.splice(startSize, 1),
    }),

  h2o({ startSize }) {
    const evictLowest = (list: NaiveEntry[], target: number, tieToLater: boolean) => {
      const recent = Math.max(1, Math.floor((target - startSize) / 2));
      const candidates = list.slice(startSize, list.length - recent);
      const least = Math.min(...candidates.map(({ score }) => score));
      const lowest = candidates.filter(({ score }) => score === least);
      list.splice(list.indexOf(lowest.at(tieToLater ? -1 : 0)!), 1);
    };
    return exact(startSize, {
      prompt(list, target) {
        while (list.length > target) evictLowest(list, target, true);
      },
      evict: (list, target) => evictLowest(list, target, false),
    });
  },

  elastic: (options) => naiveRanked(options),
  'elastic-plus': (options) =>
    naiveRanked({
      ...options,
      importance: 'mean',
      selection: 'shared',
      novelty: true,
      merging: 'none',
      eviction: 'repetition',
    }),
  prefixkv: (options) => naiveRanked({ ...options, merging: 'none', layerBudgets: 'adaptive' }),
  snapkv: (options) => naiveRanked(observed(options)),
  pyramidkv: (options) =>
    naiveRanked({
      ...observed(options),
      entries: (layers, mean, tokens) => pyramid(layers, mean, tokens, options.startSize + options.window),
    }),

  'local-reference': ({ startSize }) => ({
    received: accumulate,
    prompt: (layers, share) => forgetLocal(layers, share, startSize),
    // One at a time, as the released code decodes: 24 - 2.0000000000000004 rounds to 22, and 3 less it is below one.
    decode(layers, share) {
      for (const list of layers) {
        while (Math.trunc(list.length - share) > 0 && list.length > startSize) list.splice(startSize, 1);
      }
    },
  }),

  'h2o-reference'({ startSize }) {
    const scores: number[] = [];
    const forgetOne = (layers: NaiveEntry[][]) => {
      const length = layers[0]!.length;
      const candidates = scores.slice(0, length - 1);
      const least = Math.min(...candidates.slice(startSize));
      const index =
        startSize < length - 1 ? candidates.indexOf(least, startSize) : Math.min(startSize, length - 1);
      scores.splice(index, 1);
      for (const list of layers) list.splice(index, 1);
    };
    const forgetCount = (layers: NaiveEntry[][], share: number) => Math.trunc(layers[0]!.length - share);
    return {
      received(layers, attention) {
        layers[0]!.forEach((_, index) => {
          const mean = attention.reduce((sum, layer) => sum + layer[index]!, 0) / layers.length;
          scores[index] = (scores[index] ?? 0) + mean;
        });
      },
      prompt(layers, share) {
        const forget = forgetCount(layers, share);
        if (forget === 1) forgetOne(layers);
        if (forget <= 1) return;
        const order = sortedIndices(scores.slice(0, layers[0]!.length - 1));
        for (const list of layers) {
          const kept = list.filter((_, index) => index === list.length - 1 || order[index]! > forget);
          list.splice(0, list.length, ...kept);
        }
      },
      decode(layers, share) {
        while (forgetCount(layers, share) > 0) forgetOne(layers);
      },
    };
  },

  'elastic-reference'({ startSize, distance }) {
    let fixedPoint = 0;
    return {
      received: accumulate,
      prompt(layers, share) {
        const forget = Math.trunc(layers[0]!.length - share);
        if (forget === 1) for (const list of layers) list.shift();
        if (forget <= 1) return;
        fixedPoint = distance > 0 ? distance : layers[0]!.length - forget + distance;
        for (const list of layers) releasedMerge(list, forget, startSize);
      },
      decode(layers, share) {
        for (const list of layers) {
          while (Math.trunc(list.length - share) > 0) {
            const index = fixedPoint < 0 ? Math.max(0, list.length + fixedPoint) : fixedPoint;
            list.splice(Math.min(index, list.length - 1), 1);
          }
        }
      },
    };
  },
};

/** A method that holds to the budget exactly, every layer by itself. */
function exact(
  startSize: number,
  method: {
    prompt(list: NaiveEntry[], target: number): unknown;
    evict(list: NaiveEntry[], target: number): unknown;
  },
): NaivePolicy {
  return {
    received: accumulate,
    prompt(layers, share) {
      for (const list of layers) {
        method.prompt(list, Math.min(list.length, Math.max(startSize + 1, Math.floor(share))));
      }
    },
    decode(layers, share, seen) {
      const target = Math.min(seen, Math.max(startSize + 1, Math.floor(share)));
      for (const list of layers) while (list.length > target) method.evict(list, target);
    },
  };
}

function accumulate(layers: NaiveEntry[][], attention: number[][]): void {
  layers.forEach((list, layer) => {
    list.forEach((entry, index) => {
      entry.score += attention[layer]![index]!;
    });
  });
}

function forgetLocal(layers: NaiveEntry[][], share: number, startSize: number): void {
  for (const list of layers) list.splice(startSize, Math.max(0, Math.trunc(list.length - share)));
}

function releasedMerge(list: NaiveEntry[], forget: number, startSize: number): void {
  const tokens = [...list];
  const last = tokens.length - 1;
  const order = sortedIndices(tokens.slice(startSize, Math.max(startSize, last)).map(({ score }) => score));
  const selected = tokens.filter((_, i) => i >= startSize && i < last && order[i - startSize]! > forget);
  const groups = new Map(selected.map((token) => [token, [token]]));
  order.forEach((sorted, place) => {
    if (sorted <= forget && selected.length > 0) groups.get(closest(selected, place))!.push(tokens[place]!);
  });
  const merged = selected.map((token) => ({ ...token, ...meanOf(groups.get(token)!) }));
  list.splice(0, list.length, ...tokens.slice(0, Math.min(startSize, last)), ...merged, tokens[last]!);
}

/** SnapKV: the window, newest first, then what it attends to, each token as much as the most attended of its neighbours. */
function observed(options: NaiveOptions): NaiveOptions {
  const { window } = options;
  return {
    ...options,
    merging: 'none',
    eviction: 'importance',
    scoresOf(list) {
      const before = list.slice(0, Math.max(0, list.length - window)).map(({ score }) => score);
      return list.map(({ position }) =>
        position < before.length
          ? Math.max(...before.slice(Math.max(0, position - 3), position + 4))
          : 1e6 + position,
      );
    },
  };
}

/** PyramidKV: an arithmetic series from the first layer to the last, which has a twentieth of the mean, on top of what every layer keeps. */
function pyramid(layers: number, mean: number, tokens: number, everywhere: number): number[] {
  const rest = mean - everywhere;
  if (rest <= 0 || layers === 1) return times(layers, () => mean);
  const most = tokens - everywhere;
  const first = Math.min(most, rest + (rest - rest / 20));
  const step = (first - (2 * rest - first)) / (layers - 1);
  const ideal = times(layers, (layer) => first - layer * step);
  const floors = ideal.map((entries) => Math.floor(entries));
  const sum = () => floors.reduce((total, entries) => total + entries);
  // Whole entries that rounding left over: from the first layer on, where there is room.
  while (sum() < rest * layers) {
    for (let layer = 0; layer < layers && sum() < rest * layers; layer++)
      if (floors[layer]! < most) floors[layer]!++;
  }
  return floors.map((entries) => entries + everywhere);
}

function sortedIndices(scores: number[]): number[] {
  return scores.map((_, index) => index).sort((a, b) => scores[a]! - scores[b]! || a - b);
}
