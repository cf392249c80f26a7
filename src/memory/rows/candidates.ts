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
    const heads = head === undefined ? Array.from({ length: kvHeads }, (_, each) => each) : [head];
    for (const each of heads) {
      const values = this.rows('values', each);
      for (let candidate = 0, at = 0; candidate < norms.length; candidate++) {
        let sum = 0;
        for (const end = at + headDim; at < end; at++) sum += values[at]! * values[at]!;
        norms[candidate]! += Math.sqrt(sum) / heads.length;
      }
    }
    return norms;
  }

  /** [candidates, headDim] the keys or values of a head, in order. Shares memory where they lie like that. */
  rows(name: 'keys' | 'values', head: number): Float32Array {
    const { headDim } = this.held.shape;
    const whole = this.staged === 0 && this.last.part(name, 0, head, 0, this.count);
    if (whole) return whole;
    const rows = new Float32Array(this.count * headDim);
    for (let candidate = 0; candidate < this.count; ) {
      const { block, lane, row } = this.at(head, candidate);
      const count = this.#run(head, candidate, this.count - candidate, (index) => index);
      const part = block.part(name, lane, head, row, count);
      if (part) rows.set(part, candidate * headDim);
      else
        for (let i = 0; i < count; i++)
          block.read(name, lane, head, row + i, rows, (candidate + i) * headDim);
      candidate += count;
    }
    return rows;
  }

  /** Copies a run of candidates into the rows of a new block, as they are held; returns how many it took of the `most` that follow each other from `keep[index]`. */
  copyRun(to: RowBlock, head: number, keep: Int32Array, index: number): number {
    const first = this.at(head, keep[index]!);
    const count = this.#run(head, index, keep.length - index, (at) => keep[at]!);
    to.copy(0, head, index, first.block, first.lane, first.row, count);
    return count;
  }

  /** How many of `most` candidates, the one at `index` and the following ones, lie one behind the other. */
  #run(head: number, index: number, most: number, candidateAt: (index: number) => number): number {
    const first = this.at(head, candidateAt(index));
    let count = 1;
    while (count < most) {
      const next = this.at(head, candidateAt(index + count));
      if (next.block !== first.block || next.row !== first.row + count) break;
      count++;
    }
    return count;
  }
}
