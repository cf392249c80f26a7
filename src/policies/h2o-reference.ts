import { type CachePolicy, keepAll, type PolicyState, type SequencePolicy } from '../cache/policy.js';
import { checkOptions, type PolicyOptions } from './options.js';
import { argsort, range } from './ranking.js';

/**
 * The baseline `h2o` as released with Elastic Cache (liuzuyan/ElasticCache, kv_cache.py): one score for all layers (their
 * mean), positions of the sorted order compared with a count as if they were ranks, one entry more dropped at the prompt
 * than the budget says, and scores that stay where they were when the prompt is compressed, so that entries go on with
 * the scores of others.
 * @throws ElasticCacheError 'invalid-option'
 */
export function h2oReference(options: PolicyOptions = {}): CachePolicy {
  const { startSize } = checkOptions(options);
  return {
    name: 'h2o-reference',
    attention: 'always',
    minimum: 0,
    compactPositions: true,
    begin: (layers, saved) => beginSequence(layers, startSize, saved),
  };
}

function beginSequence(layers: number, startSize: number, saved?: PolicyState): SequencePolicy {
  /** Accumulated attention by logical index, the mean of the layers. */
  const scores: number[] = [...((saved as number[] | undefined) ?? [])];
  /** The logical indices removed in this step, the same in every layer, and how many of them each layer has removed. */
  let removals: number[] = [];
  const done = new Int32Array(layers);

  const removeLowest = (length: number): number => {
    let least = Math.min(startSize, length - 1);
    for (let index = least + 1; index < length - 1; index++)
      if (scores[index]! < scores[least]!) least = index;
    scores.splice(least, 1);
    return least;
  };

  return {
    compress(views) {
      const { tokens, allowed } = views[0]![0]!;
      for (let token = 0; token < tokens; token++) {
        scores[token] = (scores[token] ?? 0) + meanOf(views.map(([view]) => view!.received[token]!));
      }
      const keep = select(tokens, Math.trunc(tokens - allowed.share));
      return views.map(() => [{ keep }]);
    },
    observe(entries, received) {
      removals = [];
      done.fill(0);
      const rows = entries.map(([list]) => list!.first);
      for (let index = 0; index < entries[0]![0]!.length; index++) {
        scores[index] = (scores[index] ?? 0) + meanOf(rows.map((row, layer) => received[layer]![0]![row]!));
        rows.forEach((row, layer) => {
          rows[layer] = entries[layer]![0]!.next(row);
        });
      }
    },
    evict(entries, allowed, layer) {
      if (Math.trunc(entries.length - allowed.share) <= 0) return -1;
      const turn = done[layer]!++;
      removals[turn] ??= removeLowest(entries.length);
      return entries.at(removals[turn]);
    },
    save: () => [...scores],
  };

  function select(tokens: number, forget: number): Int32Array {
    if (forget <= 0) return keepAll(tokens).keep;
    if (forget === 1) {
      const removed = removeLowest(tokens);
      return range(0, tokens).filter((token) => token !== removed);
    }
    const order = argsort(Float64Array.from(scores.slice(0, tokens - 1)));
    return range(0, tokens).filter((token) => token === tokens - 1 || order[token]! > forget);
  }
}

function meanOf(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
