import type { BlockShape, FloatRows, StoredRows } from './block-shape.js';
import type { Held, Numbers, Rows } from './formats.js';
import { decode, encode, encodeRows, formatOf } from './formats.js';
import { Layout } from './layout.js';
import { noRows, reserved, widened } from './room.js';

export type { BlockShape, FloatRows, StoredRows };

/** What the memory of sequences is fed to the graph as. */
export type PastRows = Pick<RowBlock, 'keys' | 'values' | 'bias' | 'layout' | 'capacity' | 'whole'>;

const EMPTY = Number.NEGATIVE_INFINITY;

/**
 * Keys and values of one layer on the host: the memory that is fed to the graph as its past, laid out as {@link Layout} says. The rows of a head are dense: 0 .. held - 1 are in use, in
 * any order. Adding, moving and removing a row costs kvHeads x headDim, whatever is held.
 */
export class RowBlock {
  keys: Rows;
  values: Rows;
  /** [lanes, biases, capacity] added to the scores: -Infinity where no entry of the head is */
  bias = new Float32Array(0);
  layout: Layout;
  /** The block whose memory this one's is, and its lane there. */
  readonly source: { readonly block: RowBlock; readonly lane: number } | undefined;
  /** Rows of heads that were written since somebody took a copy of them, by their place [lanes, kvHeads, capacity]; undefined while nobody keeps one. */
  written: Set<number> | undefined;

  constructor(
    readonly shape: BlockShape,
    rooms: number | Layout = 0,
  ) {
    this.keys = noRows(shape, 0);
    this.values = noRows(shape, 0);
    this.layout = new Layout(shape, 0);
    if (typeof rooms === 'number') this.grow(rooms);
    else this.#allocate(rooms);
  }

  /** Rows of each head; packed, of all heads of a lane. */
  get capacity(): number {
    return this.layout.capacity;
  }

  /** Rows as they were computed, of one lane, without copying them where the format is theirs. */
  static of(rows: FloatRows, shape: Omit<BlockShape, 'lanes'>): RowBlock {
    const block = new RowBlock({ ...shape, lanes: 1 });
    const { kvHeads, headDim } = shape;
    const held = (from: Float32Array): Rows => {
      if (shape.format === 'float32') return { numbers: from as Float32Array<ArrayBuffer> };
      const { allocate, scaled } = formatOf(shape.format);
      const to = {
        numbers: allocate(from.length),
        scales: scaled ? new Float32Array(from.length / headDim) : undefined,
      };
      encodeRows(from, 0, headDim, to, 0, kvHeads * rows.capacity);
      return to;
    };
    block.keys = held(rows.keys);
    block.values = held(rows.values);
    block.bias = new Float32Array(shape.biases * rows.capacity);
    block.layout = new Layout(block.shape, rows.capacity);
    return block;
  }

  /** Rows that were held elsewhere, with what they were held as. */
  static from(rows: StoredRows, shape: BlockShape): RowBlock {
    const block = new RowBlock(shape);
    const of = (numbers: Held, scales: Float32Array<ArrayBuffer> | undefined): Rows => ({
      numbers,
      ...(scales && { scales }),
    });
    block.keys = of(rows.keys, rows.keyScales);
    block.values = of(rows.values, rows.valueScales);
    block.bias = rows.bias;
    block.layout = new Layout(shape, rows.capacity, rows.ends);
    return block;
  }

  /** What is in use, copied. @param held [lanes] of [kvHeads] rows */
  stored(held: readonly (readonly number[])[]): StoredRows {
    // Where heads' rows begin is told by kernels that add up rows in groups: they stay there.
    const copy = new RowBlock(this.shape, this.layout.ends ? this.layout : Math.max(0, ...held.flat()));
    held.forEach((counts, lane) => void copy.copyLane(lane, this, lane, counts));
    const { keys, values, bias, capacity, layout } = copy;
    return {
      keys: keys.numbers,
      values: values.numbers,
      bias,
      capacity,
      ...(layout.ends && { ends: layout.ends }),
      ...(keys.scales && { keyScales: keys.scales, valueScales: values.scales }),
    };
  }

  /** Bytes allocated, reserved room included; of a {@link view}, those that it sees. */
  get bytes(): number {
    const size = (array: Held | Float32Array | undefined) =>
      (this.source ? array?.byteLength : array?.buffer.byteLength) ?? 0;
    const of = ({ numbers, scales }: Rows) => size(numbers) + size(scales);
    return of(this.keys) + of(this.values) + this.bias.byteLength;
  }

  /** The memory of one lane, or of `count` from there on, which is in one piece. Shares it. */
  lane(lane: number, count = 1): PastRows {
    const { lanes, headDim, biases } = this.shape;
    const { rows, capacity } = this.layout;
    const [start, end] = [lane * rows, (lane + count) * rows];
    const part = ({ numbers, scales }: Rows): Rows => ({
      numbers: numbers.subarray(start * headDim, end * headDim) as Held,
      scales: scales?.subarray(start, end),
    });
    return {
      keys: part(this.keys),
      values: part(this.values),
      bias: this.bias.subarray(lane * biases * capacity, (lane + count) * biases * capacity),
      layout: this.layout.of(lane, count),
      capacity,
      whole: count === lanes ? this.whole : undefined,
    };
  }

  /** This block, where it has memory of its own: what {@link lane} gives of all its lanes is no less. */
  get whole(): RowBlock | undefined {
    return this.source ? undefined : this;
  }

  /** One lane as a block of its own over the same memory, which neither grows nor shrinks. */
  view(lane: number): RowBlock {
    const view = new RowBlock({ ...this.shape, lanes: 1 });
    const { keys, values, bias, layout } = this.lane(lane);
    Object.assign(view, { keys, values, bias, layout, source: { block: this, lane } });
    return view;
  }

  /** Allocates memory for `capacity` rows of each head in one piece, of an even block; growing up to there then needs no more of it. */
  reserve(capacity: number): void {
    this.keys = reserved(this.keys, this.shape, capacity);
    this.values = reserved(this.values, this.shape, capacity);
  }

  /** Makes room for so many rows of each head of a lane; every row stays where it is. @param needed [kvHeads] @param roomFor rows to allocate for so many */
  ensure(lane: number, needed: readonly number[], roomFor: (rows: number) => number): void {
    const { layout } = this;
    if (needed.every((rows, head) => rows <= layout.room(lane, head))) return;
    if (!layout.ends) {
      this.grow(roomFor(Math.max(...needed)));
      return;
    }
    const before = Array.from({ length: this.shape.lanes }, (_, each) => layout.rooms(each));
    const after = before.map((rooms, each) =>
      each === lane
        ? rooms.map((room, head) => (needed[head]! > room ? roomFor(needed[head]!) : room))
        : rooms,
    );
    const made = new RowBlock(this.shape, Layout.packed(this.shape, after));
    before.forEach((rooms, each) => void made.copyLane(each, this, each, rooms));
    const { keys, values, bias } = made;
    Object.assign(this, { keys, values, bias, layout: made.layout });
  }

  /** Makes room for `capacity` rows in every lane of an even block; every row stays where it is. */
  grow(capacity: number): void {
    const { lanes, biases } = this.shape;
    const before = this.capacity;
    this.keys = widened(this.keys, this.shape, before, capacity);
    this.values = widened(this.values, this.shape, before, capacity);
    const bias = new Float32Array(lanes * biases * capacity).fill(EMPTY);
    for (let row = 0; row < lanes * biases; row++) {
      bias.set(this.bias.subarray(row * before, (row + 1) * before), row * capacity);
    }
    this.bias = bias;
    this.layout = new Layout(this.shape, capacity);
  }

  #allocate(layout: Layout): void {
    const { lanes, biases } = this.shape;
    this.keys = noRows(this.shape, lanes * layout.rows);
    this.values = noRows(this.shape, lanes * layout.rows);
    this.bias = new Float32Array(lanes * biases * layout.capacity).fill(EMPTY);
    this.layout = layout;
  }

  /** Writes `count` computed rows of `source` from `index` into the rows of each head from `rows` on, [kvHeads], none where that is negative, and marks these used. */
  append(lane: number, rows: readonly number[], source: FloatRows, index: number, count = 1): void {
    const { headDim } = this.shape;
    rows.forEach((row, head) => {
      if (row < 0) return;
      const to = this.#index(lane, head, row);
      const from = (head * source.capacity + index) * headDim;
      encodeRows(source.keys, from, headDim, this.keys, to, count);
      encodeRows(source.values, from, headDim, this.values, to, count);
      this.#note(to, count);
      if (head < this.shape.biases) this.biasOf(lane, head).fill(0, row, row + count);
    });
  }

  /** Copies `count` rows of a head from a block of the same format, as they are held. Biases are not copied. */
  copy(
    lane: number,
    head: number,
    row: number,
    from: RowBlock,
    fromLane: number,
    fromRow: number,
    count: number,
  ): void {
    const { headDim } = this.shape;
    const [to, at] = [this.#index(lane, head, row), from.#index(fromLane, head, fromRow)];
    for (const name of ['keys', 'values'] as const) {
      this[name].numbers.set(
        from[name].numbers.subarray(at * headDim, (at + count) * headDim) as never,
        to * headDim,
      );
      this[name].scales?.set(from[name].scales!.subarray(at, at + count), to);
    }
    this.#note(to, count);
  }

  /** Copies the first rows of each head of a lane, and their biases, from a block of the same format; the others are then empty. @param counts [kvHeads] */
  copyLane(lane: number, from: RowBlock, fromLane: number, counts: readonly number[]): void {
    const { biases } = this.shape;
    const { capacity } = this.layout;
    this.bias.fill(EMPTY, lane * biases * capacity, (lane + 1) * biases * capacity);
    counts.forEach((count, head) => {
      this.copy(lane, head, 0, from, fromLane, 0, count);
      if (head < biases) this.biasOf(lane, head).set(from.biasOf(fromLane, head).subarray(0, count));
    });
  }

  /** Puts a row where another stood, with its bias: of one head, or of all where none is named. */
  move(lane: number, from: number, to: number, head?: number): void {
    if (from === to) return;
    const { kvHeads, headDim, biases } = this.shape;
    const [first, end] = head === undefined ? [0, kvHeads] : [head, head + 1];
    for (let each = first; each < end; each++) {
      const [at, place] = [this.#index(lane, each, from), this.#index(lane, each, to)];
      const [source, target] = [at * headDim, place * headDim];
      this.keys.numbers.copyWithin(target, source, source + headDim);
      this.values.numbers.copyWithin(target, source, source + headDim);
      this.keys.scales?.copyWithin(place, at, at + 1);
      this.values.scales?.copyWithin(place, at, at + 1);
      this.#note(place, 1);
    }
    const [least, most] = head === undefined ? [0, biases] : biases > 1 ? [head, head + 1] : [0, 1];
    for (let of = least; of < most; of++) {
      const start = this.layout.biasStart(lane, of);
      this.bias[start + to] = this.bias[start + from]!;
    }
  }

  /** Marks the rows of each head from `held` on as empty. @param held [kvHeads] */
  clear(lane: number, held: readonly number[]): void {
    for (let of = 0; of < this.shape.biases; of++) this.biasOf(lane, of).fill(EMPTY, held[of]!);
  }

  /** What is added to the scores of a head's rows. Shares memory. */
  biasOf(lane: number, head: number): Float32Array {
    const of = this.shape.biases > 1 ? head : 0;
    const start = this.layout.biasStart(lane, of);
    return this.bias.subarray(start, start + this.layout.room(lane, of));
  }

  /** Reads the key (or value) of a row as numbers into `to`, from `start` on. */
  read(name: 'keys' | 'values', lane: number, head: number, row: number, to: Numbers, start = 0): void {
    decode(this[name], this.#index(lane, head, row), this.shape.headDim, to, start);
  }

  /** [count, headDim] the keys (or values) of some rows, where they are held as float32. Shares memory. */
  part(name: 'keys' | 'values', lane: number, head: number, row: number, count: number) {
    const { numbers } = this[name];
    const { headDim } = this.shape;
    const start = this.#index(lane, head, row) * headDim;
    return numbers instanceof Float32Array ? numbers.subarray(start, start + count * headDim) : undefined;
  }

  /** Writes the key (or value) of a row, which begins at `start` of `from`. */
  write(name: 'keys' | 'values', lane: number, head: number, row: number, from: Numbers, start = 0): void {
    const place = this.#index(lane, head, row);
    encode(from, start, this.shape.headDim, this[name], place);
    this.#note(place, 1);
  }

  #note(place: number, count: number): void {
    const { written } = this.source?.block ?? this;
    if (!written) return;
    const first = place + (this.source?.lane ?? 0) * this.layout.rows;
    for (let i = 0; i < count; i++) written.add(first + i);
  }

  #index(lane: number, head: number, row: number): number {
    return this.layout.start(lane, head) + row;
  }
}
