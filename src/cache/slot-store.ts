import type { Turn } from './rotation.js';

/** Rows of keys and values laid out [batch, kvHeads, capacity, headDim]. */
export interface RowSource {
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly capacity: number;
}

/** The memory of one layer, as it is fed to the graph. */
export interface LayerMemory {
  /** [batch, kvHeads, capacity, headDim] */
  readonly keys: Float32Array<ArrayBuffer>;
  readonly values: Float32Array<ArrayBuffer>;
  /** [batch, capacity] added to the scores: 0, log(count) if asked for, -Infinity for an empty slot */
  readonly bias: Float32Array<ArrayBuffer>;
  readonly capacity: number;
  /** [batch, capacity] where in the text each entry stands, counted in tokens seen; some number for an empty slot */
  positions(): Int32Array;
}

export interface StoreShape {
  readonly batch: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

const EMPTY = Number.NEGATIVE_INFINITY;

/** Keys and values of one layer, written in place: the memory that is fed to the graph as its past. */
export class SlotStore implements RowSource {
  /** [batch, kvHeads, capacity, headDim]; an empty slot holds finite values of no meaning. */
  keys = new Float32Array(0);
  values = new Float32Array(0);
  /** [batch, capacity] added to the scores: -Infinity for an empty slot. */
  bias = new Float32Array(0);
  capacity = 0;

  constructor(
    readonly shape: StoreShape,
    capacity = 0,
  ) {
    this.grow(capacity);
  }

  /** Bytes allocated, reserved room included. */
  get bytes(): number {
    return this.keys.buffer.byteLength + this.values.buffer.byteLength + this.bias.byteLength;
  }

  /** Allocates memory for `capacity` slots in one piece; growing up to there then needs no more of it. */
  reserve(capacity: number): void {
    const { batch, kvHeads, headDim } = this.shape;
    const length = batch * kvHeads * capacity * headDim;
    const reserved = (from: Float32Array<ArrayBuffer>) => {
      if (from.buffer.byteLength >= length * from.BYTES_PER_ELEMENT) return from;
      const buffer = new Float32Array(length);
      buffer.set(from);
      return buffer.subarray(0, from.length);
    };
    this.keys = reserved(this.keys);
    this.values = reserved(this.values);
  }

  /** Makes room for `capacity` slots; every entry keeps its slot. */
  grow(capacity: number): void {
    const { batch } = this.shape;
    const before = this.capacity;
    this.keys = this.#widened(this.keys, capacity);
    this.values = this.#widened(this.values, capacity);
    const bias = new Float32Array(batch * capacity).fill(EMPTY);
    for (let row = 0; row < batch; row++) {
      bias.set(this.bias.subarray(row * before, (row + 1) * before), row * capacity);
    }
    this.bias = bias;
    this.capacity = capacity;
  }

  /** The blocks of all heads at their new places: in the same memory where it was reserved, else in new. */
  #widened(from: Float32Array<ArrayBuffer>, capacity: number): Float32Array<ArrayBuffer> {
    const { batch, kvHeads, headDim } = this.shape;
    const length = batch * kvHeads * capacity * headDim;
    const inPlace = from.buffer.byteLength >= length * from.BYTES_PER_ELEMENT;
    const to = inPlace ? new Float32Array(from.buffer, 0, length) : new Float32Array(length);
    const width = this.capacity * headDim;
    // The last block first, so that none is written over before it has moved.
    for (let block = batch * kvHeads - 1; block >= 0; block--) {
      const start = block * width;
      if (inPlace) to.copyWithin(block * capacity * headDim, start, start + width);
      else to.set(from.subarray(start, start + width), block * capacity * headDim);
    }
    return to;
  }

  /** Copies `count` rows of `source` from `index` into the slots from `slot` and marks these used. */
  write(row: number, slot: number, source: RowSource, index: number, count = 1, bias = 0): void {
    const { kvHeads, headDim } = this.shape;
    for (let head = row * kvHeads; head < (row + 1) * kvHeads; head++) {
      const from = (head * source.capacity + index) * headDim;
      const to = (head * this.capacity + slot) * headDim;
      this.keys.set(source.keys.subarray(from, from + count * headDim), to);
      this.values.set(source.values.subarray(from, from + count * headDim), to);
    }
    const first = row * this.capacity + slot;
    this.bias.fill(bias, first, first + count);
  }

  /** Adds row `index` of `source`, times `weight`, to what a slot holds; its key turned first, if asked for. */
  add(row: number, slot: number, source: RowSource, index: number, weight = 1, turn?: Turn): void {
    const { kvHeads, headDim } = this.shape;
    const { keys, values } = this;
    for (let head = row * kvHeads; head < (row + 1) * kvHeads; head++) {
      const from = (head * source.capacity + index) * headDim;
      const to = (head * this.capacity + slot) * headDim;
      const stored = source.keys.subarray(from, from + headDim);
      const key = turn ? turn.turned(stored) : stored;
      for (let i = 0; i < headDim; i++) {
        keys[to + i]! += weight * key[i]!;
        values[to + i]! += weight * source.values[from + i]!;
      }
    }
  }

  /** Multiplies what a slot holds. */
  scale(row: number, slot: number, factor: number): void {
    const { kvHeads, headDim } = this.shape;
    for (let head = row * kvHeads; head < (row + 1) * kvHeads; head++) {
      const start = (head * this.capacity + slot) * headDim;
      for (let i = start; i < start + headDim; i++) {
        this.keys[i]! *= factor;
        this.values[i]! *= factor;
      }
    }
  }

  /** Sets what is added to the scores of a used slot. */
  setBias(row: number, slot: number, bias: number): void {
    this.bias[row * this.capacity + slot] = bias;
  }

  biasOf(row: number, slot: number): number {
    return this.bias[row * this.capacity + slot]!;
  }

  clear(row: number, slot: number): void {
    this.bias[row * this.capacity + slot] = EMPTY;
  }

  /** Copies of the rows in `slots`, [slots, kvHeads, headDim]. */
  read(row: number, slots: Int32Array): { keys: Float32Array; values: Float32Array } {
    const { kvHeads, headDim } = this.shape;
    const keys = new Float32Array(slots.length * kvHeads * headDim);
    const values = new Float32Array(keys.length);
    slots.forEach((slot, index) => {
      for (let head = 0; head < kvHeads; head++) {
        const from = ((row * kvHeads + head) * this.capacity + slot) * headDim;
        const to = (index * kvHeads + head) * headDim;
        keys.set(this.keys.subarray(from, from + headDim), to);
        values.set(this.values.subarray(from, from + headDim), to);
      }
    });
    return { keys, values };
  }
}

/** Slots allocated beyond those needed: a sixteenth, so that growing costs O(1) per token and little memory. */
export function headroom(slots: number): number {
  return Math.max(16, slots >> 4);
}

/** Capacity to allocate when `slots` are needed: with room to grow, but not beyond the `most` that are ever needed. */
export function roomFor(slots: number, most: number): number {
  const roomy = slots + headroom(slots);
  return slots <= most ? Math.min(roomy, most) : roomy;
}
