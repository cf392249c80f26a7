import { meanOf, type NaiveEntry, type NaivePolicy } from '../cache/naive-cache.cases.js';

/** The methods written over arrays of objects, in the words of their papers (or of the released code): oracles only. */
export const naivePolicies: Record<string, (startSize: number, distance: number) => NaivePolicy> = {
  full: () => ({ received: accumulate, prompt() {}, decode() {} }),

  local: (startSize) =>
    exact(startSize, {
      prompt: (list, target) => list.splice(startSize, list.length - target),
      evict: (list) => list.splice(startSize, 1),
    }),

  h2o(startSize) {
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

  elastic(startSize, distance) {
    const fixedPoints = new Map<NaiveEntry[], number>();
    return exact(startSize, {
      prompt(list, target) {
        const tokens = [...list];
        const middle = tokens
          .slice(startSize, -1)
          .sort((a, b) => b.score - a.score || a.position - b.position);
        const dropped = target < tokens.length ? middle.slice(target - startSize - 1) : [];
        const anchors = tokens.filter((token) => !dropped.includes(token));
        const groups = new Map(anchors.map((anchor) => [anchor, [anchor]]));
        for (const token of dropped.sort((a, b) => a.position - b.position)) {
          groups.get(closest(anchors, token.position))!.push(token);
        }
        list.splice(
          0,
          list.length,
          ...anchors.map((anchor) => ({ ...anchor, ...meanOf(groups.get(anchor)!) })),
        );
        const place = distance < 0 ? list.length + distance : Math.min(distance, list.length - 1);
        fixedPoints.set(list, Math.max(startSize, place));
      },
      evict: (list) => list.splice(fixedPoints.get(list)!, 1),
    });
  },

  'local-reference': (startSize) => ({
    received: accumulate,
    prompt: (layers, share) => forgetLocal(layers, share, startSize),
    // One at a time, as the released code decodes: 24 - 2.0000000000000004 rounds to 22, and 3 less it is below one.
    decode(layers, share) {
      for (const list of layers) {
        while (Math.trunc(list.length - share) > 0 && list.length > startSize) list.splice(startSize, 1);
      }
    },
  }),

  'h2o-reference'(startSize) {
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

  'elastic-reference'(startSize, distance) {
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

function closest(anchors: NaiveEntry[], position: number): NaiveEntry {
  return anchors.reduce((best, anchor) =>
    Math.abs(anchor.position - position) < Math.abs(best.position - position) ? anchor : best,
  );
}

function sortedIndices(scores: number[]): number[] {
  return scores.map((_, index) => index).sort((a, b) => scores[a]! - scores[b]! || a - b);
}
