import type { BlockShape } from './block-shape.js';

/**
 * Where the rows of each head lie in a block.
 *
 * *Even*: every head of a lane has `capacity` rows, and a graph is fed [lanes, kvHeads, capacity, headDim]. *Packed*: heads that hold different numbers of entries have as many rows as each needs,
 * one head's behind the other's, and a graph is fed [lanes, 1, capacity, headDim]: every head is shown all `capacity` rows of its lane, and biases of -Infinity hide those of others.
 */
export class Layout {
  /**
   * @param capacity rows of each head; packed, of all heads of a lane
   * @param ends packed: [lanes, kvHeads] where in its lane each head's rows end
   */
  constructor(
    private readonly shape: Pick<BlockShape, 'lanes' | 'kvHeads' | 'biases'>,
    readonly capacity: number,
    readonly ends?: Int32Array<ArrayBuffer>,
  ) {}

  /** Rows for so many of each head of each lane. @param rooms [lanes] of [kvHeads] */
  static packed(shape: BlockShape, rooms: readonly (readonly number[])[]): Layout {
    const ends = new Int32Array(shape.lanes * shape.kvHeads);
    const totals = rooms.map((heads, lane) => endsOf(heads, ends, lane * shape.kvHeads));
    return new Layout(shape, Math.max(0, ...totals), ends);
  }

  /** Heads that a graph is fed. */
  get heads(): number {
    return this.ends ? 1 : this.shape.kvHeads;
  }

  /** Rows of a lane, of all its heads. */
  get rows(): number {
    return this.heads * this.capacity;
  }

  /** The place of a head's first row. */
  start(lane: number, head: number): number {
    if (!this.ends) return (lane * this.shape.kvHeads + head) * this.capacity;
    return lane * this.capacity + this.offset(lane, head);
  }

  /** How many rows a head has. */
  room(lane: number, head: number): number {
    if (!this.ends) return this.capacity;
    return this.ends[lane * this.shape.kvHeads + head]! - this.offset(lane, head);
  }

  /** [kvHeads] */
  rooms(lane: number): number[] {
    return Array.from({ length: this.shape.kvHeads }, (_, head) => this.room(lane, head));
  }

  /** The place of the bias of a head's first row, in [lanes, biases, capacity]. */
  biasStart(lane: number, of: number): number {
    return (lane * this.shape.biases + of) * this.capacity + this.offset(lane, of);
  }

  /** Where among what a head is shown its own rows begin. */
  offset(lane: number, head: number): number {
    return this.ends && head > 0 ? this.ends[lane * this.shape.kvHeads + head - 1]! : 0;
  }

  /** That of some lanes alone, from `lane` on. */
  of(lane: number, count: number): Layout {
    const { kvHeads } = this.shape;
    const ends = this.ends?.slice(lane * kvHeads, (lane + count) * kvHeads);
    return new Layout({ ...this.shape, lanes: count }, this.capacity, ends);
  }
}

function endsOf(rooms: readonly number[], ends: Int32Array, at: number): number {
  let end = 0;
  rooms.forEach((room, head) => {
    end += room;
    ends[at + head] = end;
  });
  return end;
}
