import type { BlockShape, FloatRows, StoredRows } from './block-shape.js';
import type { Held, Numbers, Rows } from './formats.js';
import { decode, encode, encodeRows, formatOf } from './formats.js';

export type { BlockShape, FloatRows, StoredRows };

const EMPTY = Number.NEGATIVE_INFINITY;

/**
 * Keys and values of one layer on the host, [lanes, kvHeads, capacity, headDim]: the memory that is fed to the graph as its past. The rows of a lane are dense:
 * 0 .. held - 1 are in use, in any order, as many in every head. Adding, moving and removing a row costs kvHeads x headDim, whatever is held.
 */
export class RowBlock {
  keys: Rows;
  values: Rows;
  /** [lanes, biases, capacity] added to the scores: -Infinity beyond what a lane holds */
  bias = new Float32Array(0);
  capacity = 0;
  /** The block whose memory this one's is, and its lane there. */
  readonly source: { readonly block: RowBlock; readonly lane: number } | undefined;
  /** Rows of heads that were written since somebody took a copy of them, by their place [lanes, kvHeads, capacity]; undefined while nobody keeps one. */
  written: Set<number> | undefined;

  constructor(
    readonly shape: BlockShape,
    capacity = 0,
  ) {
    const { allocate, scaled } = formatOf(shape.format);
    const none = (): Rows => ({ numbers: allocate(0), ...(scaled ? { scales: new Float32Array(0) } : {}) });
    this.keys = none();
    this.values = none();
    this.grow(capacity);
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
    block.capacity = rows.capacity;
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
    block.capacity = rows.capacity;
    return block;
  }

  /** The first `rows` rows of every lane, copied. */
  stored(rows: number): StoredRows {
    const copy = new RowBlock(this.shape, rows);
    for (let lane = 0; lane < this.shape.lanes; lane++) copy.copyLane(lane, this, lane, rows);
    const { keys, values, bias, capacity } = copy;
    return {
      keys: keys.numbers,
      values: values.numbers,
      bias,
      capacity,
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
  lane(lane: number, count = 1): Pick<RowBlock, 'keys' | 'values' | 'bias' | 'capacity' | 'whole'> {
    const { lanes, kvHeads, headDim, biases } = this.shape;
    const { capacity } = this;
    const [start, end] = [lane * capacity, (lane + count) * capacity];
    const part = ({ numbers, scales }: Rows): Rows => ({
      numbers: numbers.subarray(start * kvHeads * headDim, end * kvHeads * headDim) as Held,
      scales: scales?.subarray(start * kvHeads, end * kvHeads),
    });
    return {
      keys: part(this.keys),
      values: part(this.values),
      bias: this.bias.subarray(start * biases, end * biases),
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
    const { keys, values, bias, capacity } = this.lane(lane);
    Object.assign(view, { keys, values, bias, capacity, source: { block: this, lane } });
    return view;
  }

  /** Allocates memory for `capacity` rows in one piece; growing up to there then needs no more of it. */
  reserve(capacity: number): void {
    const { lanes, kvHeads, headDim, format } = this.shape;
    const { bytes, allocate, over } = formatOf(format);
    const reserved = (rows: Rows): Rows => {
      const length = lanes * kvHeads * capacity * headDim;
      if (rows.numbers.buffer.byteLength >= length * bytes) return rows;
      const buffer = allocate(length);
      buffer.set(rows.numbers as never);
      return { ...rows, numbers: over(buffer.buffer, rows.numbers.length) };
    };
    this.keys = reserved(this.keys);
    this.values = reserved(this.values);
  }

  /** Makes room for `capacity` rows in every lane; every row stays where it is. */
  grow(capacity: number): void {
    const { lanes, biases } = this.shape;
    const before = this.capacity;
    this.keys = this.#widened(this.keys, capacity);
    this.values = this.#widened(this.values, capacity);
    const bias = new Float32Array(lanes * biases * capacity).fill(EMPTY);
    for (let row = 0; row < lanes * biases; row++) {
      bias.set(this.bias.subarray(row * before, (row + 1) * before), row * capacity);
    }
    this.bias = bias;
    this.capacity = capacity;
  }

  /** The rows of all heads at their new places: in the same memory where it was reserved, else in new. */
  #widened({ numbers: from, scales }: Rows, capacity: number): Rows {
    const { lanes, kvHeads, headDim, format } = this.shape;
    const { bytes, allocate, over } = formatOf(format);
    const length = lanes * kvHeads * capacity * headDim;
    const inPlace = from.buffer.byteLength >= length * bytes;
    const to = inPlace ? over(from.buffer, length) : allocate(length);
    const width = this.capacity * headDim;
    // The last head first, so that none is written over before it has moved.
    for (let head = lanes * kvHeads - 1; head >= 0; head--) {
      const start = head * width;
      if (inPlace) to.copyWithin(head * capacity * headDim, start, start + width);
      else to.set(from.subarray(start, start + width) as never, head * capacity * headDim);
    }
    if (!scales) return { numbers: to };
    const wider = new Float32Array(lanes * kvHeads * capacity);
    for (let head = 0; head < lanes * kvHeads; head++) {
      wider.set(scales.subarray(head * this.capacity, (head + 1) * this.capacity), head * capacity);
    }
    return { numbers: to, scales: wider };
  }

  /** Writes `count` computed rows of `source` from `index` into the rows from `row` of every head, and marks these used. */
  append(lane: number, row: number, source: FloatRows, index: number, count = 1): void {
    const { kvHeads, headDim } = this.shape;
    for (let head = 0; head < kvHeads; head++) {
      const to = this.#index(lane, head, row);
      const from = (head * source.capacity + index) * headDim;
      encodeRows(source.keys, from, headDim, this.keys, to, count);
      encodeRows(source.values, from, headDim, this.values, to, count);
      this.#note(to, count);
    }
    this.setBias(lane, row, 0, count);
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

  /** Copies a lane's first `count` rows, and their biases, from a block of the same format. */
  copyLane(lane: number, from: RowBlock, fromLane: number, count: number): void {
    const { kvHeads, biases } = this.shape;
    for (let head = 0; head < kvHeads; head++) this.copy(lane, head, 0, from, fromLane, 0, count);
    for (let of = 0; of < biases; of++) {
      const start = (fromLane * biases + of) * from.capacity;
      const at = (lane * biases + of) * this.capacity;
      this.bias.set(from.bias.subarray(start, start + count), at);
      this.bias.fill(EMPTY, at + count, at + this.capacity);
    }
  }

  /** Puts a row where another stood, with its bias: of one head, or of all where none is named. */
  move(lane: number, from: number, to: number, head?: number): void {
    if (from === to) return;
    const { kvHeads, headDim, biases } = this.shape;
    const first = this.#index(lane, head ?? 0, 0);
    const end = head === undefined ? first + kvHeads * this.capacity : first + 1;
    for (let start = first; start < end; start += this.capacity) {
      const source = (start + from) * headDim;
      const target = (start + to) * headDim;
      this.keys.numbers.copyWithin(target, source, source + headDim);
      this.values.numbers.copyWithin(target, source, source + headDim);
      this.keys.scales?.copyWithin(start + to, start + from, start + from + 1);
      this.values.scales?.copyWithin(start + to, start + from, start + from + 1);
      this.#note(start + to, 1);
    }
    const [least, most] = head === undefined ? [0, biases] : biases > 1 ? [head, head + 1] : [0, 1];
    for (let of = least; of < most; of++) {
      const start = (lane * biases + of) * this.capacity;
      this.bias[start + to] = this.bias[start + from]!;
    }
  }

  /** Marks the rows from `held` on as empty. */
  clear(lane: number, held: number): void {
    for (let of = 0; of < this.shape.biases; of++) this.#bias(lane, of).fill(EMPTY, held);
  }

  /** Sets what is added to the scores of `count` rows, in every head. */
  setBias(lane: number, row: number, bias: number, count = 1): void {
    for (let of = 0; of < this.shape.biases; of++) this.#bias(lane, of).fill(bias, row, row + count);
  }

  /** [capacity] what is added to the scores of a head's rows. Shares memory. */
  biasOf(lane: number, head: number): Float32Array {
    return this.#bias(lane, this.shape.biases > 1 ? head : 0);
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
    const first = place + (this.source?.lane ?? 0) * this.shape.kvHeads * this.capacity;
    for (let i = 0; i < count; i++) written.add(first + i);
  }

  #index(lane: number, head: number, row: number): number {
    return (lane * this.shape.kvHeads + head) * this.capacity + row;
  }

  #bias(lane: number, of: number): Float32Array {
    const start = (lane * this.shape.biases + of) * this.capacity;
    return this.bias.subarray(start, start + this.capacity);
  }
}
