import type { TurnEdit } from '../../cache/policy.js';
import { Layout } from '../rows/layout.js';
import { type BlockShape, RowBlock } from '../rows/row-block.js';
import type { Candidates } from './candidates.js';
import { type KeyRotation, KeyTurn } from './rotation.js';

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
 * @param roomFor rows to allocate for so many
 * @returns the block, packed where that takes less memory, of one lane, and [lists] of [kept] how many tokens each entry stands for
 */
export function rebuild(
  candidates: Candidates,
  choices: readonly Choice[],
  shape: Omit<BlockShape, 'lanes'>,
  roomFor: (rows: number) => number,
  { logCountBias, rotation }: MergeOptions,
): { block: RowBlock; counts: Int32Array[] } {
  const block = new RowBlock({ ...shape, lanes: 1 }, roomOf(choices, { ...shape, lanes: 1 }, roomFor));
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

/** As many rows of each head as the one that keeps the most needs, or packed. */
function roomOf(
  choices: readonly Choice[],
  shape: BlockShape,
  roomFor: (rows: number) => number,
): number | Layout {
  const rooms = choices.map(({ keep }) => roomFor(keep.length + 1));
  const most = Math.max(...rooms);
  const packed = rooms.reduce((sum, room) => sum + room, 0) < rooms.length * most;
  return packed ? Layout.packed(shape, [rooms]) : most;
}

function mergesOf({ keep, from = new Int32Array(), into = new Int32Array(), positions }: Choice): Merges {
  const rowOf = new Int32Array(positions.length);
  for (let row = 0; row < keep.length; row++) rowOf[keep[row]!] = row;
  return { from, rows: into.map((anchor) => rowOf[anchor]!) };
}

/** [kept] how many tokens each entry stands for. */
function standsFor({ keep, counts }: Choice, { from, rows }: Merges): Int32Array {
  const stands = keep.map((candidate) => counts[candidate]!);
  for (let index = 0; index < rows.length; index++) stands[rows[index]!]! += counts[from[index]!]!;
  return stands;
}

/** Averages merged candidates into the rows of their anchors, in one head. */
function average(
  block: RowBlock,
  candidates: Candidates,
  head: number,
  choice: Choice,
  { from, rows }: Merges,
  rotation: KeyRotation | undefined,
): void {
  if (from.length === 0) return;
  const { keep, positions, valuesOnly } = choice;
  const { headDim } = block.shape;
  const { own, merged, totals } = weightsOf(choice, { from, rows });
  const anchors = new Uint8Array(keep.length);
  for (const row of rows) anchors[row] = 1;
  for (const name of valuesOnly ? (['values'] as const) : (['keys', 'values'] as const)) {
    const all = candidates.rows(name, head);
    const sums = candidates.scratch.sums(keep.length * headDim);
    for (let row = 0; row < keep.length; row++) {
      if (anchors[row]) addRow(sums, row * headDim, all, keep[row]! * headDim, headDim, own[row]!);
    }
    const turn = name === 'keys' ? rotation : undefined;
    for (let index = 0; index < from.length; index++) {
      const candidate = from[index]!;
      const row = rows[index]!;
      const [start, to] = [candidate * headDim, row * headDim];
      if (turn) {
        const by = positions[keep[row]!]! - positions[candidate]!;
        const turned = new KeyTurn(turn, by).turned(all.subarray(start, start + headDim));
        addRow(sums, to, turned, 0, headDim, merged[index]!);
      } else {
        addRow(sums, to, all, start, headDim, merged[index]!);
      }
    }
    for (let row = 0; row < keep.length; row++) {
      if (!anchors[row]) continue;
      const [start, total] = [row * headDim, totals[row]!];
      // One division: shares that are rounded each would make no mean of what is all the same.
      for (let i = start; i < start + headDim; i++) sums[i]! /= total;
      block.write(name, 0, head, row, sums, start);
    }
  }
}

/** Adds `count` numbers from `start` of a row, times its weight. */
function addRow(
  sums: Float64Array,
  to: number,
  numbers: Float32Array | Float64Array,
  start: number,
  count: number,
  weight: number,
): void {
  let i = 0;
  // Four at a time take less than half as long.
  for (; i + 4 <= count; i += 4) {
    sums[to + i]! += weight * numbers[start + i]!;
    sums[to + i + 1]! += weight * numbers[start + i + 1]!;
    sums[to + i + 2]! += weight * numbers[start + i + 2]!;
    sums[to + i + 3]! += weight * numbers[start + i + 3]!;
  }
  for (; i < count; i++) sums[to + i]! += weight * numbers[start + i]!;
}

/**
 * How much candidates count in the mean of a row: [kept] the anchors, [merges] those merged into them; and [kept] the sum of that. An entry that stands for several tokens counts as all
 * of them; a mean of zeros counts all the same.
 */
function weightsOf({ keep, weights, counts }: Choice, { from, rows }: Merges) {
  const wanted = weights ?? counts;
  const own = new Float64Array(keep.length);
  const merged = new Float64Array(from.length);
  for (let row = 0; row < keep.length; row++) own[row] = wanted[keep[row]!]!;
  for (let index = 0; index < from.length; index++) merged[index] = wanted[from[index]!]!;
  const totals = own.slice();
  const members = new Int32Array(keep.length).fill(1);
  for (let index = 0; index < from.length; index++) {
    totals[rows[index]!]! += merged[index]!;
    members[rows[index]!]!++;
  }
  const none = (row: number) => !(totals[row]! > 0);
  for (let index = 0; index < from.length; index++) if (none(rows[index]!)) merged[index] = 1;
  for (let row = 0; row < keep.length; row++) {
    if (!none(row)) continue;
    own[row] = 1;
    totals[row] = members[row]!;
  }
  return { own, merged, totals };
}
