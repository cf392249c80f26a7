import type { Entries } from './policy.js';

const NONE = -1;

/** The entries of one layer of one sequence: a linked list over slots, in ascending position, with a list of free slots. */
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
  #free: number[] = [];
  /** Slots ever used: every slot from here on is free. */
  #highWater = 0;
  // One remembered (index, slot) pair, so that `at` around a fixed index costs O(1).
  #cursorIndex = 0;
  #cursorSlot = NONE;

  next(slot: number): number {
    return this.#next[slot]!;
  }

  previous(slot: number): number {
    return this.#previous[slot]!;
  }

  position(slot: number): number {
    return this.#positions[slot]!;
  }

  count(slot: number): number {
    return this.#counts[slot]!;
  }

  at(index: number): number {
    if (this.#cursorSlot === NONE || index < Math.abs(index - this.#cursorIndex)) {
      this.#cursorIndex = 0;
      this.#cursorSlot = this.first;
    }
    if (this.length - 1 - index < Math.abs(index - this.#cursorIndex)) {
      this.#cursorIndex = this.length - 1;
      this.#cursorSlot = this.last;
    }
    for (; this.#cursorIndex < index; this.#cursorIndex++) this.#cursorSlot = this.next(this.#cursorSlot);
    for (; this.#cursorIndex > index; this.#cursorIndex--) this.#cursorSlot = this.previous(this.#cursorSlot);
    return this.#cursorSlot;
  }

  /** Slots needed (the store's capacity) once `tokens` more entries have been appended. */
  slotsNeeded(tokens: number): number {
    return this.#highWater + Math.max(0, tokens - this.#free.length);
  }

  /** Adds the next token at the end and returns its slot. */
  append(): number {
    const slot = this.#free.pop() ?? this.#highWater++;
    if (slot >= this.#next.length) this.#grow();
    this.#positions[slot] = this.seen++;
    this.#counts[slot] = 1;
    this.scores[slot] = 0;
    this.#next[slot] = NONE;
    this.#previous[slot] = this.last;
    if (this.last === NONE) this.first = slot;
    else this.#next[this.last] = slot;
    this.last = slot;
    this.length++;
    return slot;
  }

  remove(slot: number): void {
    const before = this.previous(slot);
    const after = this.next(slot);
    if (before === NONE) this.first = after;
    else this.#next[before] = after;
    if (after === NONE) this.last = before;
    else this.#previous[after] = before;
    if (slot === this.#cursorSlot) this.#cursorSlot = after;
    else if (this.#cursorSlot !== NONE && this.position(slot) < this.position(this.#cursorSlot)) {
      this.#cursorIndex--;
    }
    this.#free.push(slot);
    this.length--;
  }

  /** The slots in logical order. */
  order(): Int32Array {
    const slots = new Int32Array(this.length);
    for (let slot = this.first, index = 0; slot !== NONE; slot = this.next(slot)) slots[index++] = slot;
    return slots;
  }

  /** The positions of the first slots, one for each number of `to`; an empty slot gives some number. */
  copyPositions(to: Int32Array): void {
    to.set(this.#positions.subarray(0, to.length));
  }

  /** Keeps only the entries in `slots` (logical order), moved to the slots 0, 1, 2 ..., each with a new count if given. */
  compact(slots: Int32Array, counts?: Int32Array): void {
    const positions = slots.map((slot) => this.position(slot));
    const kept = counts ?? slots.map((slot) => this.count(slot));
    const scores = Float64Array.from(slots, (slot) => this.scores[slot]!);
    this.length = slots.length;
    this.#positions = positions;
    this.#counts = kept.slice();
    this.scores = scores;
    this.#next = slots.map((_, index) => (index + 1 < slots.length ? index + 1 : NONE));
    this.#previous = slots.map((_, index) => index - 1);
    this.first = slots.length > 0 ? 0 : NONE;
    this.last = slots.length - 1;
    this.#free = [];
    this.#highWater = slots.length;
    this.#cursorSlot = NONE;
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

/** Where in the text the entries of each row stand, [rows, capacity] by slot; an empty slot gives some number. */
export function positionsBySlot(rows: readonly EntryList[], capacity: number): Int32Array {
  const positions = new Int32Array(rows.length * capacity);
  rows.forEach((entries, row) => {
    entries.copyPositions(positions.subarray(row * capacity, (row + 1) * capacity));
  });
  return positions;
}
