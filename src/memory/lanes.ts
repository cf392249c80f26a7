import { type Budget, largestHeld } from '../cache/budget.js';
import type { Allowance, CachePolicy } from '../cache/policy.js';
import { Sequence, type SequenceState } from '../cache/sequence.js';
import { newestSketch, observe, place } from './decode-step.js';
import { roomFor } from './rows/capacity.js';
import { gathered, isPacked, isWasteful, type LaneRows } from './rows/gathered.js';
import type { Layout } from './rows/layout.js';
import { type PastRows, RowBlock, type StoredRows } from './rows/row-block.js';
import { bytesPerEntry, type EntryRows, invalidShape, type LayerRows, type ModelShape } from './shape.js';
import { KeySketcher } from './turns/key-sketch.js';

/** How the lanes of a cache are made. */
export interface LaneSettings {
  readonly policy: CachePolicy;
  readonly shape: ModelShape;
  /** Choices of a layer: one that its heads share, or one for each. */
  readonly lists: number;
  /** Biases of a row: heads that choose for themselves hold different numbers of entries, have merged different numbers of tokens into theirs, and see differently through a window. */
  readonly biases: number;
  /** [layers] how many tokens a query sees, itself and those before it; undefined for all */
  readonly windows: readonly (number | undefined)[];
  readonly sketcher: KeySketcher | undefined;
  /** Capacity to allocate for so many rows. */
  readonly roomFor: (rows: number) => number;
}

/** How the lanes of a model are made under a policy and budget. @param windows [layers] */
export function laneSettings(
  policy: CachePolicy,
  budget: Budget,
  shape: ModelShape,
  windows: readonly (number | undefined)[],
): LaneSettings {
  const { heads = 'shared' } = policy;
  const lists = heads === 'shared' ? 1 : shape.kvHeads;
  const differ = heads === 'unequal' || policy.logCountBias || windows.some((window) => window !== undefined);
  const most = largestHeld(budget, bytesPerEntry(shape)) + 1;
  return {
    policy,
    shape,
    lists,
    biases: differ ? lists : 1,
    windows,
    sketcher: policy.needsKeys ? new KeySketcher(shape) : undefined,
    roomFor: (rows) => roomFor(rows, most),
  };
}

/** Sequences and the memory that their entries lie in, one lane for each in every layer's block. */
export class Lanes {
  /** [layers] */
  blocks: RowBlock[];
  readonly sequences: readonly Sequence[];

  /** @param saved what each sequence goes on from, and [layers] what its lane holds */
  constructor(
    readonly settings: LaneSettings,
    saved: { sequences: readonly SequenceState[]; blocks: readonly StoredRows[] } | undefined = undefined,
  ) {
    const { policy, shape, lists, biases } = settings;
    const { batch, layers, kvHeads, headDim, format } = shape;
    this.sequences = Array.from(
      { length: batch },
      (_, lane) => new Sequence(policy, layers, lists, saved?.sequences[lane]),
    );
    const empty = { lanes: batch, kvHeads, headDim, format, biases };
    this.blocks = Array.from({ length: layers }, (_, layer) =>
      saved ? RowBlock.from(saved.blocks[layer]!, empty) : new RowBlock(empty),
    );
  }

  /** Entries of a layer, in the head that holds the most; the most over the sequences. */
  held(layer: number): number {
    this.block(layer);
    return this.sequences.reduce((most, sequence) => Math.max(most, sequence.held(layer)), 0);
  }

  /** [lanes] of [kvHeads] entries of each head of a layer. */
  heldBy(layer: number): number[][] {
    return this.sequences.map((sequence) => sequence.heldBy(layer, this.settings.shape.kvHeads));
  }

  /** Tokens of the longest sequence. */
  get seen(): number {
    return this.sequences.reduce((most, { seen }) => Math.max(most, seen), 0);
  }

  sequence(lane: number): Sequence {
    const sequence = this.sequences[lane];
    if (sequence) return sequence;
    throw invalidShape(`row ${lane} is not in this cache.`);
  }

  block(layer: number): RowBlock {
    const block = this.blocks[layer];
    if (block) return block;
    throw invalidShape(`layer ${layer} is not in this cache, which has ${this.blocks.length} layers.`);
  }

  /** The rows of one sequence. One that holds nothing is fed none: the empty rows of its lane are those that others need. */
  past(layer: number, lane: number): PastRows {
    const block = this.block(layer);
    if (this.sequence(lane).held(layer) === 0) return new RowBlock({ ...block.shape, lanes: 1 });
    return block.lane(lane);
  }

  /** Puts what a turn left of a sequence in its lane. @param made [layers] blocks of one lane */
  install(lane: number, made: readonly RowBlock[]): void {
    if (this.sequences.length === 1) {
      this.blocks = [...made];
      return;
    }
    this.blocks = made.map((block, layer) => {
      const lanes = this.#lanes(layer);
      const all = this.blocks[layer]!;
      lanes[lane] = { ...lanes[lane]!, block, lane: 0 };
      if (isPacked(lanes)) return gathered(all.shape, lanes, this.settings.roomFor);
      if (block.capacity > all.capacity) all.grow(block.capacity);
      all.copyLane(lane, block, 0, lanes[lane].held);
      return this.#fitted(all, layer);
    });
  }

  /**
   * One new token of each of some sequences.
   * @param layers [layers] keys, values [lanes, kvHeads, 1, headDim], with attention if the policy wants it at every step
   * @param allowed what a sequence may hold after so many tokens
   */
  step(layers: readonly LayerRows[], lanes: readonly number[], allowed: (seen: number) => Allowance): void {
    const { policy, shape, sketcher, roomFor } = this.settings;
    const fed = this.blocks.map(({ layout }) => layout);
    const observed = policy.attention === 'always';
    const stepping = lanes.map((lane) => ({ lane, sequence: this.sequence(lane) }));
    stepping.forEach((each, index) => {
      const { sequence } = each;
      sequence.append(observed);
      if (sketcher) sequence.policy.added?.(newestSketch(sketcher, layers, index, shape));
      // Everything held learns what it received from the new query, before the policy brings the layers down to the budget.
      if (observed) observe(each, index, layers, fed, shape.kvHeads);
      place(this.blocks, each, index, layers, allowed(sequence.seen), roomFor);
    });
    this.blocks = this.blocks.map((block, layer) => this.#fitted(block, layer));
  }

  /** Lets the entries of a sequence go that stand at `seen` or behind it in the text. */
  trim(lane: number, seen: number): void {
    const sequence = this.sequence(lane);
    const gone = sequence.trim(seen);
    this.blocks.forEach((block, layer) => {
      gone[layer]!.forEach((moves, head) => {
        for (const [from, to] of moves)
          block.move(lane, from, to, gone[layer]!.length > 1 ? head : undefined);
      });
      block.clear(lane, sequence.heldBy(layer, block.shape.kvHeads));
    });
    this.blocks = this.blocks.map((block, layer) => this.#fitted(block, layer));
    sequence.policy.trimmed?.(seen);
  }

  /** What a layer holds for one sequence, or for one of its heads where they choose for themselves, in ascending position, as copies. */
  entries(layer: number, lane: number, head: number): EntryRows {
    const block = this.block(layer);
    const lists = this.sequence(lane).lists[layer]!;
    const list = lists[head];
    if (!list) throw invalidShape(`head ${head} of layer ${layer} does not choose for itself in this cache.`);
    const { kvHeads, headDim } = block.shape;
    const heads = lists.length > 1 ? [head] : Array.from({ length: kvHeads }, (_, each) => each);
    const order = list.order();
    const read = (name: 'keys' | 'values') => {
      const rows = new Float32Array(order.length * heads.length * headDim);
      order.forEach((row, index) => {
        heads.forEach((each, place) => {
          block.read(name, lane, each, row, rows, (index * heads.length + place) * headDim);
        });
      });
      return rows;
    };
    return {
      keys: read('keys'),
      values: read('values'),
      positions: order.map((row) => list.position(row)),
      counts: order.map((row) => list.count(row)),
    };
  }

  /**
   * [lanes, lists, capacity] where in the text the entry of each row stands, those behind the entries held as if the next tokens stood there.
   * @param layout of these lanes
   */
  positions(layer: number, lanes: readonly number[], layout: Layout): Int32Array {
    const { lists } = this.settings;
    const { capacity } = layout;
    const positions = new Int32Array(lanes.length * lists * capacity);
    lanes.forEach((lane, index) => {
      const sequence = this.sequence(lane);
      sequence.lists[layer]!.forEach((list, head) => {
        const start = (index * lists + head) * capacity + layout.offset(index, head);
        list.copyPositions(positions.subarray(start, start + list.length));
        for (let row = list.length; row < layout.room(index, head); row++)
          positions[start + row] = sequence.seen + row - list.length;
      });
    });
    return positions;
  }

  /** The block with room for one more row, or one as large as it has to be: after a turn of many tokens most rows are empty, and their memory is given back. */
  #fitted(block: RowBlock, layer: number): RowBlock {
    if (block.source) return block;
    if (isWasteful(block, this.heldBy(layer), 2))
      return gathered(block.shape, this.#lanes(layer), this.settings.roomFor);
    if (!block.layout.ends && this.held(layer) === block.capacity)
      block.grow(this.settings.roomFor(block.capacity + 1));
    return block;
  }

  #lanes(layer: number): LaneRows[] {
    const block = this.blocks[layer]!;
    return this.heldBy(layer).map((held, lane) => ({ block, lane, held }));
  }
}
