import type { TurnEdit } from '../../cache/policy.js';
import type { Candidates } from './candidates.js';
import type { SimilarKeys } from './most-similar.js';

/**
 * What has to be asked before an edit can be carried out that merges by the similarity of keys: whom each candidate that is not kept is merged into.
 * @param head the one that the edit is of; undefined for all
 * @returns undefined where nothing is asked
 */
export function questionOf(
  candidates: Candidates,
  { keep, similar }: TurnEdit,
  head: number | undefined,
): SimilarKeys | undefined {
  if (!similar || similar.anchors.length === 0) return undefined;
  const { kvHeads, headDim } = candidates.shape;
  const heads = head === undefined ? Array.from({ length: kvHeads }, (_, each) => each) : [head];
  return {
    heads: heads.length,
    headDim,
    from: othersThan(keep, candidates.count(head), similar.start),
    anchors: similar.anchors,
    gather: (some, to, start) => {
      heads.forEach((each, index) => {
        candidates.gatherKeys(each, some, to, start + index * some.length * headDim);
      });
    },
  };
}

/** Candidates from `start` on that are not kept, ascending. */
function othersThan(keep: Int32Array, candidates: number, start = 0): Int32Array {
  const kept = new Uint8Array(candidates);
  for (const candidate of keep) kept[candidate] = 1;
  const others = new Int32Array(candidates - start);
  let count = 0;
  for (let candidate = start; candidate < candidates; candidate++) {
    if (kept[candidate] === 0) others[count++] = candidate;
  }
  return others.slice(0, count);
}
