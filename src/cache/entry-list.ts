import type { Entries } from './policy.js';

const NONE = -1;

/**
 * The entries that the heads of one layer hold for one sequence: a linked list in ascending position over rows that lie densely in
 * 0 .. length - 1, in any order. The row of an entry that goes is taken by the last one.
 */
export class EntryList implements Entries {
  length = 0;
  seen = 0;
  first = NONE;
  last = NONE;
  scores = new Float64Array(0);
  #next = new Int32Array(0);
  #previous = new Int32Array(0);
  #positions = new Int32Array(0);
  #counts = new Int32Array(0);
  /** The row of each position; made when somebody asks for one, kept up from then on. */
  #rows: Map<number, number> | undefined;
  // One remembered (index, row) pair, so that `at` around a fixed index costs O(1).
  #cursorIndex = 0;
  #cursorRow = NONE;

  next(row: number): number {
    return this.#next[row]!;
  }

  previous(row: number): number {
    return this.#previous[row]!;
  }

  position(row: number): number {
    return this.#positions[row]!;
  }

  count(row: number): number {
    return this.#counts[row]!;
  }

  at(index: number): number {
    if (this.#cursorRow === NONE || index < Math.abs(index - this.#cursorIndex)) {
      this.#cursorIndex = 0;
      this.#cursorRow = this.first;
    }
    if (this.length - 1 - index < Math.abs(index - this.#cursorIndex)) {
      this.#cursorIndex = this.length - 1;
      this.#cursorRow = this.last;
    }
    for (; this.#cursorIndex < index; this.#cursorIndex++) this.#cursorRow = this.next(this.#cursorRow);
    for (; this.#cursorIndex > index; this.#cursorIndex--) this.#cursorRow = this.previous(this.#cursorRow);
    return this.#cursorRow;
  }

  rowOf(position: number): number {
    if (this.#rows === undefined) {
      this.#rows = new Map();
      for (let row = 0; row < this.length; row++) this.#rows.set(this.position(row), row);
    }
    return this.#rows.get(position) ?? NONE;
  }

  /** Adds the next token at the end; its row is `length - 1` from then on. */
  append(): void {
    const row = this.length++;
    if (row >= this.#next.length) this.#grow();
    this.#positions[row] = this.seen;
    this.#rows?.set(this.seen, row);
    this.seen++;
    this.#counts[row] = 1;
    this.scores[row] = 0;
    this.#next[row] = NONE;
    this.#previous[row] = this.last;
    if (this.last === NONE) this.first = row;
    else this.#next[this.last] = row;
    this.last = row;
  }

  /** Removes the entry in `row`; the entry of the last row, `length` from then on, takes its place there. */
  remove(row: number): void {
    const before = this.previous(row);
    const after = this.next(row);
    this.#link(before, after);
    this.#rows?.delete(this.position(row));
    if (row === this.#cursorRow) this.#cursorRow = after;
    else if (this.#cursorRow !== NONE && this.position(row) < this.position(this.#cursorRow)) {
      this.#cursorIndex--;
    }
    const moved = --this.length;
    if (moved === row) return;
    this.#positions[row] = this.#positions[moved]!;
    this.#counts[row] = this.#counts[moved]!;
    this.scores[row] = this.scores[moved]!;
    this.#link(this.previous(moved), row);
    this.#link(row, this.next(moved));
    if (this.#cursorRow === moved) this.#cursorRow = row;
    this.#rows?.set(this.position(row), row);
  }

  /** The rows in logical order. */
  order(): Int32Array {
    const rows = new Int32Array(this.length);
    for (let row = this.first, index = 0; row !== NONE; row = this.next(row)) rows[index++] = row;
    return rows;
  }

  /** The positions of the first rows, one for each number of `to`; beyond the entries held they are some number. */
  copyPositions(to: Int32Array): void {
    to.set(this.#positions.subarray(0, to.length));
  }

  /** Holds these entries from now on, in rows 0, 1, 2 ... */
  replace(positions: Int32Array, counts: Int32Array, scores: Float64Array, seen: number): void {
    const { length } = positions;
    this.length = length;
    this.seen = seen;
    this.#positions = positions.slice();
    this.#counts = counts.slice();
    this.scores = scores.slice();
    this.#next = new Int32Array(length);
    this.#previous = new Int32Array(length);
    const rows = Int32Array.from({ length }, (_, row) => row);
    if (positions.some((position, row) => row > 0 && position < positions[row - 1]!)) {
      rows.sort((a, b) => positions[a]! - positions[b]!);
    }
    this.#link(NONE, rows[0] ?? NONE);
    rows.forEach((row, index) => {
      this.#link(row, rows[index + 1] ?? NONE);
    });
    this.#rows = undefined;
    this.#cursorRow = NONE;
  }

  /** Makes `after` follow `before`; either may be no entry. */
  #link(before: number, after: number): void {
    if (before === NONE) this.first = after;
    else this.#next[before] = after;
    if (after === NONE) this.last = before;
    else this.#previous[after] = before;
  }

  #grow(): void {
    const size = Math.max(16, Math.ceil(this.#next.length * 1.5));
    const enlarge = (from: Int32Array): Int32Array<ArrayBuffer> => {
      const to = new Int32Array(size);
      to.set(from);
      return to;
    };
    this.#next = enlarge(this.#next);
    this.#previous = enlarge(this.#previous);
    this.#positions = enlarge(this.#positions);
    this.#counts = enlarge(this.#counts);
    const scores = new Float64Array(size);
    scores.set(this.scores);
    this.scores = scores;
  }
}
