import type { RowBlock } from '../rows/row-block.js';

/** Rows of a block that follow each other in memory, and in the order of the candidates. */
interface Place {
  readonly block: RowBlock;
  readonly lane: number;
  readonly row: number;
}

/** Memory that rows are laid out in, one head's after the other's: fresh memory for each costs more than the copying. */
export class Scratch {
  #rows = new Float32Array(0);
  #sums = new Float64Array(0);

  /** [length] of unknown content, and good until others are asked for. */
  rows(length: number): Float32Array {
    if (this.#rows.length < length) this.#rows = new Float32Array(length);
    return this.#rows.subarray(0, length);
  }

  /** [length] zeros, good until others are asked for. */
  sums(length: number): Float64Array {
    if (this.#sums.length < length) this.#sums = new Float64Array(length);
    return this.#sums.subarray(0, length).fill(0);
  }
}

/**
 * Where the candidates of a turn lie in one layer: those held in the rows of a block, in an order of their own for each head, the new tokens behind them there or
 * in the block of the part that came last.
 */
export class Candidates {
  /**
   * @param held block with what was held and the parts before the last, in rows 0 .. staged - 1
   * @param orders [lists] rows of the entries held, in ascending position
   * @param staged [lists] rows of `held` in use
   * @param last rows of the last part
   * @param scratch for the rows that are asked for
   */
  constructor(
    private readonly held: RowBlock,
    private readonly lane: number,
    private readonly orders: readonly Int32Array[],
    private readonly staged: readonly number[],
    private readonly last: RowBlock,
    readonly scratch: Scratch,
  ) {}

  get shape() {
    return this.held.shape;
  }

  /** Candidates of a head, or of all where they share one list. */
  count(head = 0): number {
    return this.#staged(head) + this.last.capacity;
  }

  /** Where a candidate of a head lies. */
  at(head: number, candidate: number): Place {
    const order = this.#order(head);
    const staged = this.#staged(head);
    if (candidate < order.length) return { block: this.held, lane: this.lane, row: order[candidate]! };
    if (candidate < staged) return { block: this.held, lane: this.lane, row: candidate };
    return { block: this.last, lane: 0, row: candidate - staged };
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
    const norms = new Float64Array(this.count(head));
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

  /** [candidates, headDim] the keys or values of a head, in order; good until others are asked for. Shares memory where they lie like that. */
  rows(name: 'keys' | 'values', head: number): Float32Array {
    const count = this.count(head);
    const whole = this.#staged(head) === 0 && this.last.part(name, 0, head, 0, count);
    if (whole) return whole;
    const rows = this.scratch.rows(count * this.held.shape.headDim);
    this.#lay(name, head, undefined, count, rows, 0);
    return rows;
  }

  /** Writes the keys of some candidates of a head, [some, headDim], to `start` of `to`. */
  gatherKeys(head: number, some: Int32Array, to: Float32Array, start: number): void {
    this.#lay('keys', head, some, some.length, to, start);
  }

  /** @param some all in order, where it is undefined */
  #lay(
    name: 'keys' | 'values',
    head: number,
    some: Int32Array | undefined,
    count: number,
    to: Float32Array,
    start: number,
  ): void {
    const { headDim } = this.held.shape;
    for (let index = 0; index < count; ) {
      const { block, lane, row } = this.at(head, some ? some[index]! : index);
      const run = this.#run(head, some, index, count - index);
      const part = block.part(name, lane, head, row, run);
      if (part) to.set(part, start + index * headDim);
      else
        for (let i = 0; i < run; i++)
          block.read(name, lane, head, row + i, to, start + (index + i) * headDim);
      index += run;
    }
  }

  /** Copies a run of candidates into the rows of a new block, as they are held; returns how many it took of the `most` that follow each other from `keep[index]`. */
  copyRun(to: RowBlock, head: number, keep: Int32Array, index: number): number {
    const first = this.at(head, keep[index]!);
    const count = this.#run(head, keep, index, keep.length - index);
    to.copy(0, head, index, first.block, first.lane, first.row, count);
    return count;
  }

  /** How many of `most` candidates, the one at `index` and the following ones, lie one behind the other. */
  #run(head: number, some: Int32Array | undefined, index: number, most: number): number {
    const order = this.#order(head);
    const staged = this.#staged(head);
    const first = some ? some[index]! : index;
    // What stands in order in one block is told by its end.
    const [start, end] = first < staged ? [order.length, staged] : [staged, this.count(head)];
    if (!some && first >= start) return Math.min(most, end - first);
    let row = first < order.length ? order[first]! : first;
    let count = 1;
    for (; count < most; count++) {
      const next = some ? some[index + count]! : index + count;
      if (next >= end || next < staged !== first < staged) break;
      if ((next < order.length ? order[next]! : next) !== ++row) break;
    }
    return count;
  }

  #order(head: number): Int32Array {
    return this.orders[this.orders.length > 1 ? head : 0]!;
  }

  #staged(head: number): number {
    return this.staged[this.staged.length > 1 ? head : 0]!;
  }
}
