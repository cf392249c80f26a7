import { meanOf, type NaiveEntry, type NaivePolicy, times } from '../cache/naive-cache.js';
import { plus } from './naive-plus.js';
import { type NaiveOptions, naiveRanked } from './naive-ranked.js';

/** The methods written over arrays of objects, in the words of their papers (or of the released code): oracles only. */
export const naivePolicies: Record<string, (options: NaiveOptions) => NaivePolicy> = {
  full: () => ({ turn() {}, step() {} }),

  local: ({ startSize }) =>
    exact(startSize, {
      turn: (list, target) => list.splice(startSize, list.length - target),
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
    const method = exact(startSize, {
      turn(list, target) {
        while (list.length > target) evictLowest(list, target, true);
      },
      evict: (list, target) => evictLowest(list, target, false),
    });
    return { ...method, always: true };
  },

  elastic: (options) => naiveRanked(options),
  'elastic-plus': (options) => naiveRanked(plus(options)),
  'elastic-novelty': (options) =>
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
      entries: (mean, offered) => pyramid(mean, offered, options.startSize + options.window),
    }),

  'local-reference': ({ startSize }) => ({
    turn(lists, { share }) {
      for (const list of lists) list.splice(startSize, Math.max(0, Math.trunc(list.length - share)));
    },
    // One at a time, as the released code decodes: 24 - 2.0000000000000004 rounds to 22, and 3 less it is below one.
    step(lists, { share }) {
      for (const list of lists) {
        while (Math.trunc(list.length - share) > 0 && list.length > startSize) list.splice(startSize, 1);
      }
    },
  }),

  'h2o-reference'({ startSize }) {
    const scores: number[] = [];
    const forgetOne = (lists: NaiveEntry[][]) => {
      const length = lists[0]!.length;
      const candidates = scores.slice(0, length - 1);
      const least = Math.min(...candidates.slice(startSize));
      const index =
        startSize < length - 1 ? candidates.indexOf(least, startSize) : Math.min(startSize, length - 1);
      scores.splice(index, 1);
      for (const list of lists) list.splice(index, 1);
    };
    const forgetCount = (lists: NaiveEntry[][], share: number) => Math.trunc(lists[0]!.length - share);
    const receive = (lists: NaiveEntry[][]) => {
      lists[0]!.forEach((_, index) => {
        const mean = lists.reduce((sum, list) => sum + list[index]!.received, 0) / lists.length;
        scores[index] = (scores[index] ?? 0) + mean;
      });
    };
    return {
      always: true,
      turn(lists, { share }) {
        receive(lists);
        const forget = forgetCount(lists, share);
        if (forget === 1) forgetOne(lists);
        if (forget <= 1) return;
        const order = sortedIndices(scores.slice(0, lists[0]!.length - 1));
        for (const list of lists) {
          const kept = list.filter((_, index) => index === list.length - 1 || order[index]! > forget);
          list.splice(0, list.length, ...kept);
        }
      },
      step(lists, { share }) {
        receive(lists);
        while (forgetCount(lists, share) > 0) forgetOne(lists);
      },
    };
  },

  'elastic-reference'({ startSize, distance }) {
    let fixedPoint = 0;
    const forgetOne = (list: NaiveEntry[]) => {
      const index = fixedPoint < 0 ? Math.max(0, list.length + fixedPoint) : fixedPoint;
      list.splice(Math.min(index, list.length - 1), 1);
    };
    return {
      turn(lists, { share }) {
        const forget = Math.trunc(lists[0]!.length - share);
        if (forget === 1) for (const list of lists) forgetOne(list);
        if (forget <= 1) return;
        fixedPoint = distance > 0 ? distance : lists[0]!.length - forget + distance;
        for (const list of lists) releasedMerge(list, forget, startSize);
      },
      step(lists, { share }) {
        for (const list of lists) while (Math.trunc(list.length - share) > 0) forgetOne(list);
      },
    };
  },
};

/** A method that holds to the budget exactly, every layer by itself. */
function exact(
  startSize: number,
  method: {
    turn(list: NaiveEntry[], target: number): unknown;
    evict(list: NaiveEntry[], target: number): unknown;
  },
): NaivePolicy {
  const allowed = (share: number, seen: number) => Math.min(seen, Math.max(startSize + 1, Math.floor(share)));
  return {
    turn(lists, { share, seen }) {
      for (const list of lists)
        if (list.length > allowed(share, seen)) method.turn(list, allowed(share, seen));
    },
    step(lists, { share, seen }) {
      for (const list of lists)
        while (list.length > allowed(share, seen)) method.evict(list, allowed(share, seen));
    },
  };
}

/** The released code knows no positions: what is nearest is so by place among the entries held. */
function releasedMerge(list: NaiveEntry[], forget: number, startSize: number): void {
  const tokens = [...list];
  const last = tokens.length - 1;
  const order = sortedIndices(tokens.slice(startSize, Math.max(startSize, last)).map(({ score }) => score));
  const selected = times(tokens.length, (i) => i).filter(
    (i) => i >= startSize && i < last && order[i - startSize]! > forget,
  );
  const groups = new Map(selected.map((index) => [index, [tokens[index]!]]));
  order.forEach((sorted, place) => {
    if (sorted > forget || selected.length === 0) return;
    const nearest = selected.reduce((best, index) =>
      Math.abs(index - place) < Math.abs(best - place) ? index : best,
    );
    groups.get(nearest)!.push(tokens[place]!);
  });
  const merged = selected.map((index) => ({ ...tokens[index]!, ...meanOf(groups.get(index)!) }));
  list.splice(0, list.length, ...tokens.slice(0, Math.min(startSize, last)), ...merged, tokens[last]!);
}

/** SnapKV: the window, newest first, then what it attends to, each entry as much as the most attended of its neighbours. */
function observed(options: NaiveOptions): NaiveOptions {
  const { window } = options;
  return {
    ...options,
    merging: 'none',
    eviction: 'importance',
    least: options.startSize + 1,
    scoresOf(list, { fresh }) {
      const before = list.slice(0, list.length - Math.min(window, fresh)).map(({ score }) => score);
      return list.map(({ position }, index) =>
        index < before.length ? Math.max(...before.slice(Math.max(0, index - 3), index + 4)) : 1e6 + position,
      );
    },
  };
}

/**
 * PyramidKV: an arithmetic series from the first layer to the last, which has a twentieth of the mean, on top of what every layer keeps; what a layer does not have
 * goes to the first that have more.
 */
function pyramid(mean: number, offered: number[], everywhere: number): number[] {
  const layers = offered.length;
  const rest = mean - everywhere;
  const total = (entries: number[]) => entries.reduce((sum, count) => sum + count, 0);
  let entries = times(layers, () => mean);
  if (rest > 0 && layers > 1) {
    const most = Math.max(...offered) - everywhere;
    const first = Math.min(most, rest + (rest - rest / 20));
    const step = (first - (2 * rest - first)) / (layers - 1);
    const floors = times(layers, (layer) => Math.floor(first - layer * step));
    // Whole entries that rounding left over: from the first layer on, where there is room.
    while (total(floors) < rest * layers) {
      for (let layer = 0; layer < layers && total(floors) < rest * layers; layer++)
        if (floors[layer]! < most) floors[layer]!++;
    }
    entries = floors.map((count) => count + everywhere);
  }
  const fitted = entries.map((count, layer) => Math.min(count, offered[layer]!));
  for (let layer = 0; layer < layers; layer++) {
    while (total(fitted) < total(entries) && fitted[layer]! < offered[layer]!) fitted[layer]!++;
  }
  return fitted;
}

function sortedIndices(scores: number[]): number[] {
  return scores.map((_, index) => index).sort((a, b) => scores[a]! - scores[b]! || a - b);
}
