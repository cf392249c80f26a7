import type { TurnEdit } from '../../cache/policy.js';
import type { Candidates } from './candidates.js';
import { type KeyRotation, KeyTurn } from './rotation.js';
import { type BlockShape, RowBlock } from './row-block.js';

/** How the rows of merged entries are made. */
export interface MergeOptions {
  /** This times log(count) is added to the scores of an entry that stands for several tokens. */
  readonly logCountBias: number;
  /** Turns merged keys to the position of their anchor before they are averaged; without it they are averaged as stored. */
  readonly rotation?: KeyRotation | undefined;
}

/** An edit whose merges are named, and what it is an edit of: [candidates] where each stands and how many tokens it stands for. */
export interface Choice extends Omit<TurnEdit, 'similar'> {
  readonly positions: Int32Array;
  readonly counts: Int32Array;
}

/** Candidates that are merged, and the row of the anchor of each. */
interface Merges {
  readonly from: Int32Array;
  readonly rows: Int32Array;
}

/**
 * Makes the rows of one layer anew from the candidates of a turn, in the order of `keep`.
 * @param choices [lists] one that all heads share, or one for each
 * @returns the block, of one lane, and [lists] of [kept] how many tokens each entry stands for
 */
export function rebuild(
  candidates: Candidates,
  choices: readonly Choice[],
  shape: Omit<BlockShape, 'lanes'>,
  capacity: number,
  { logCountBias, rotation }: MergeOptions,
): { block: RowBlock; counts: Int32Array[] } {
  const block = new RowBlock({ ...shape, lanes: 1 }, capacity);
  const heads = Array.from({ length: shape.kvHeads }, (_, head) => head);
  const counts = choices.map((choice, list) => {
    const own = choices.length > 1 ? [list] : heads;
    const merges = mergesOf(choice);
    for (const head of own) {
      for (let row = 0; row < choice.keep.length; ) row += candidates.copyRun(block, head, choice.keep, row);
      average(block, candidates, head, choice, merges, rotation);
    }
    const stands = standsFor(choice, merges);
    for (const head of shape.biases > 1 ? own : own.slice(0, 1)) {
      const bias = block.biasOf(0, head);
      choice.keep.forEach((candidate, row) => {
        bias[row] =
          logCountBias > 0 && stands[row] !== choice.counts[candidate]
            ? logCountBias * Math.log(stands[row]!)
            : candidates.biasOf(head, candidate);
      });
    }
    return stands;
  });
  return { block, counts };
}

function mergesOf({ keep, from = new Int32Array(), into = new Int32Array(), positions }: Choice): Merges {
  const rowOf = new Int32Array(positions.length);
  keep.forEach((candidate, row) => {
    rowOf[candidate] = row;
  });
  return { from, rows: into.map((anchor) => rowOf[anchor]!) };
}

/** [kept] how many tokens each entry stands for. */
function standsFor({ keep, counts }: Choice, { from, rows }: Merges): Int32Array {
  const stands = keep.map((candidate) => counts[candidate]!);
  rows.forEach((row, index) => {
    stands[row]! += counts[from[index]!]!;
  });
  return stands;
}

/** Averages merged candidates into the rows of their anchors, in one head. */
function average(
  block: RowBlock,
  candidates: Candidates,
  head: number,
  { keep, weights, counts, positions, valuesOnly }: Choice,
  { from, rows }: Merges,
  rotation: KeyRotation | undefined,
): void {
  if (from.length === 0) return;
  const { headDim } = block.shape;
  const members: number[][] = Array.from(keep, () => []);
  rows.forEach((row, index) => void members[row]!.push(from[index]!));
  const sum = new Float64Array(headDim);
  const row_ = new Float64Array(headDim);
  members.forEach((merged, row) => {
    if (merged.length === 0) return;
    const anchor = keep[row]!;
    const all = [anchor, ...merged];
    // An entry that stands for several tokens counts as all of them.
    const wanted = all.map((candidate) => (weights ? weights[candidate]! : counts[candidate]!));
    const given = wanted.some((weight) => weight > 0) ? wanted : wanted.map(() => 1);
    const total = given.reduce((a, b) => a + b, 0);
    for (const name of valuesOnly ? (['values'] as const) : (['keys', 'values'] as const)) {
      sum.fill(0);
      all.forEach((candidate, index) => {
        candidates.read(name, head, candidate, row_);
        const turned =
          name === 'keys' && rotation && candidate !== anchor
            ? new KeyTurn(rotation, positions[anchor]! - positions[candidate]!).turned(row_)
            : row_;
        for (let i = 0; i < headDim; i++) sum[i]! += given[index]! * turned[i]!;
      });
      // One division: shares that are rounded each would make no mean of what is all the same.
      for (let i = 0; i < headDim; i++) sum[i]! /= total;
      block.write(name, 0, head, row, sum);
    }
  });
}
