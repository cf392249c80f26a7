import type { RowBlock } from './row-block.js';

/** Rows of a block that follow each other in memory, and in the order of the candidates. */
interface Place {
  readonly block: RowBlock;
  readonly lane: number;
  readonly row: number;
}

/**
 * Where the candidates of a turn lie in one layer: those held in the rows of a block, in an order of their own for each head, the new tokens behind them there or
 * in the block of the part that came last.
 */
export class Candidates {
  /**
   * @param held block with what was held and the parts before the last, in rows 0 .. staged - 1
   * @param orders [lists] rows of the entries held, in ascending position
   * @param staged rows of `held` in use
   * @param last rows of the last part
   */
  constructor(
    private readonly held: RowBlock,
    private readonly lane: number,
    private readonly orders: readonly Int32Array[],
    private readonly staged: number,
    private readonly last: RowBlock,
  ) {}

  get count(): number {
    return this.staged + this.last.capacity;
  }

  /** Where a candidate of a head lies. */
  at(head: number, candidate: number): Place {
    const order = this.orders[this.orders.length > 1 ? head : 0]!;
    if (candidate < order.length) return { block: this.held, lane: this.lane, row: order[candidate]! };
    if (candidate < this.staged) return { block: this.held, lane: this.lane, row: candidate };
    return { block: this.last, lane: 0, row: candidate - this.staged };
  }

  read(
    name: 'keys' | 'values',
    head: number,
    candidate: number,
    to: Float64Array | Float32Array,
    start = 0,
  ): void {
    const { block, lane, row } = this.at(head, candidate);
    block.read(name, lane, head, row, to, start);
  }

  biasOf(head: number, candidate: number): number {
    const { block, lane, row } = this.at(head, candidate);
    return block.biasOf(lane, head)[row]!;
  }

  /** [candidates] the length of each value of a head; of all heads, the mean. */
  valueNorms(head: number | undefined): Float64Array {
    const { kvHeads, headDim } = this.held.shape;
    const norms = new Float64Array(this.count);
    const value = new Float64Array(headDim);
    const heads = head === undefined ? Array.from({ length: kvHeads }, (_, each) => each) : [head];
    for (const each of heads) {
      for (let candidate = 0; candidate < norms.length; candidate++) {
        this.read('values', each, candidate, value);
        norms[candidate]! += Math.hypot(...value) / heads.length;
      }
    }
    return norms;
  }

  /** [candidates, headDim] the keys of a head, each of length 1. */
  directions(head: number): Float32Array {
    const { headDim } = this.held.shape;
    const keys = new Float32Array(this.count * headDim);
    for (let candidate = 0; candidate < this.count; candidate++) {
      const start = candidate * headDim;
      this.read('keys', head, candidate, keys, start);
      let sum = 0;
      for (let i = start; i < start + headDim; i++) sum += keys[i]! ** 2;
      const scale = sum > 0 ? 1 / Math.sqrt(sum) : 0;
      for (let i = start; i < start + headDim; i++) keys[i]! *= scale;
    }
    return keys;
  }

  /** Copies a run of candidates into the rows of a new block, as they are held; returns how many it took of the `most` that follow each other from `keep[index]`. */
  copyRun(to: RowBlock, head: number, keep: Int32Array, index: number): number {
    const first = this.at(head, keep[index]!);
    let count = 1;
    while (index + count < keep.length) {
      const next = this.at(head, keep[index + count]!);
      if (next.block !== first.block || next.row !== first.row + count) break;
      count++;
    }
    to.copy(0, head, index, first.block, first.lane, first.row, count);
    return count;
  }
}
