import type { CachePolicy } from '../cache/policy.js';
import { Endings } from './endings.js';
import type { KVCache } from './kv-cache.js';
import { roomFor, roomForUnequal } from './rows/capacity.js';
import { gathered, hasRoom, isPacked, isWasteful, type LaneRows } from './rows/gathered.js';
import { type PastRows, RowBlock } from './rows/row-block.js';
import { invalidShape, type LayerRows } from './shape.js';

/** What one pass of single tokens needs of the sequences that take part in it: a cache of several has it, and lanes that several caches share. */
export interface Batch {
  /** Sequences. */
  readonly batch: number;
  /** Biases of a row in {@link past}. */
  readonly biases: number;
  readonly policy: Pick<CachePolicy, 'attention' | 'peak' | 'layers' | 'heads'>;
  /** Tokens that a sequence has seen, and the position that its next one is rotated to. */
  seenBy(row: number): number;
  nextPosition(row: number): number;
  past(layer: number, row?: number): PastRows;
  /** Rows in use of a layer's lanes; the most over the sequences. */
  held(layer: number): number;
  positions(layer: number, row?: number): Int32Array;
  /** What is done when what is held is forgotten. */
  readonly forgotten: Endings;
  /** Adds one new token to every sequence, or to some. */
  appendStep(layers: readonly LayerRows[], rows?: readonly number[]): void;
}

/**
 * Lanes that the caches of several sequences share, each with its own policy, budget and length, so that one pass brings each of them a token. Sequences join and leave
 * between passes: one lane is copied for each. While a cache is in, its rows lie here, and it is otherwise what it was.
 *
 * What the members have in common is {@link kindOf}. The lanes of a layer are as long as its longest needs, and there are as many as members: a copy of all when one comes or goes is little
 * beside the reading of a prompt.
 */
export class LanePool implements Batch {
  readonly #members: KVCache[] = [];
  /** The most rows that each member will need. */
  readonly #most = new Map<KVCache, number>();
  /** [layers] of as many lanes as there are members */
  #blocks: RowBlock[] = [];
  readonly forgotten = new Endings();
  /** What the policies of members threw in the last step: these are empty now, and every other has its token. */
  readonly failures = new Map<KVCache, unknown>();

  get batch(): number {
    return this.#members.length;
  }

  get members(): readonly KVCache[] {
    return this.#members;
  }

  get biases(): number {
    return this.#first.biases;
  }

  get policy(): Batch['policy'] {
    return this.#first.policy;
  }

  /** Bytes allocated. */
  get bytes(): number {
    return this.#blocks.reduce((sum, block) => sum + block.bytes, 0);
  }

  /**
   * Whether a cache fits in: layers of unequal length are padded to their longest, and where those of the members are too unlike, that is more than was promised. It must be so whoever
   * leaves: of any who stay, the one who needs the most is promised enough for all who need less.
   * @param most as for {@link join}
   */
  takes(cache: KVCache, most = Number.POSITIVE_INFINITY): boolean {
    if (this.batch === 0) return true;
    const all = [...this.#members, cache];
    const packed = all.some((each) => isPacked(each.rows()));
    const layers = this.#blocks.length;
    const longest = new Array<number>(layers).fill(0);
    return all
      .map((each) => ({ each, most: this.#most.get(each) ?? most }))
      .sort((a, b) => a.most - b.most)
      .every(({ each, most }) => {
        roomAtTheEnd(each, most, packed).forEach((room, layer) => {
          longest[layer] = Math.max(longest[layer]!, room);
        });
        const rows = longest.reduce((sum, room) => sum + room, 0);
        return rows <= layers * roomPromised(this.policy, most);
      });
  }

  /** Takes in a cache of one sequence that has read its prompt. @param most rows of a layer that it will need, at most: no more are allocated for it */
  join(cache: KVCache, most = Number.POSITIVE_INFINITY): void {
    this.#members.push(cache);
    this.#most.set(cache, most);
    this.#fit();
  }

  /** Lets a member go, with what it holds, or without: it is then of no more use. @param holding whether it goes on elsewhere */
  leave(cache: KVCache, holding: boolean): void {
    const lane = this.#members.indexOf(cache);
    const last = this.#members.pop();
    if (lane < 0 || !last) throw invalidShape('this cache is not in the pool.');
    this.#most.delete(cache);
    if (last !== cache) this.#members[lane] = last;
    const own = cache
      .rows()
      .map((rows) =>
        holding
          ? gathered(rows.block.shape, [rows], (count) => roomFor(count, count))
          : new RowBlock({ ...rows.block.shape, lanes: 1 }),
      );
    cache.relocate(own);
    if (this.batch === 0) {
      this.#blocks = [];
      this.forgotten.reached();
    }
    this.#fit();
  }

  seenBy(row: number): number {
    return this.#member(row).seenBy(0);
  }

  nextPosition(row: number): number {
    return this.#member(row).nextPosition(0);
  }

  held(layer: number): number {
    return Math.max(0, ...this.#members.map((cache) => cache.held(layer)));
  }

  /** As `KVCache.past`: the lanes in use, or one of them. */
  past(layer: number, row?: number): PastRows {
    const block = this.#blocks[layer]!;
    return row === undefined ? block.lane(0, this.batch) : block.lane(row);
  }

  positions(layer: number, row?: number): Int32Array {
    const members = row === undefined ? this.#members : [this.#member(row)];
    const each = members.map((cache) => cache.positions(layer));
    const all = new Int32Array(each.reduce((sum, { length }) => sum + length, 0));
    let end = 0;
    for (const positions of each) {
      all.set(positions, end);
      end += positions.length;
    }
    return all;
  }

  /** As `KVCache.appendStep`; what a member's policy throws is among the {@link failures}. */
  appendStep(layers: readonly LayerRows[], rows?: readonly number[]): void {
    const stepping = rows ?? this.#members.map((_, row) => row);
    this.failures.clear();
    stepping.forEach((row, index) => {
      try {
        this.#member(row).appendStep(layers.map((layer) => rowsOf(layer, index, stepping.length)));
      } catch (cause) {
        this.failures.set(this.#member(row), cause);
      }
    });
    // For the next: attention comes by the rows that were fed.
    this.#fit();
  }

  get #first(): KVCache {
    return this.#member(0);
  }

  #member(row: number): KVCache {
    const member = this.#members[row];
    if (member) return member;
    throw invalidShape(`row ${row} is not in this pool.`);
  }

  /** Makes the blocks as large as they have to be, of the lanes of the members. */
  #fit(): void {
    const members = this.#members.map((cache) => cache.rows());
    const fitting = (members[0] ?? []).map((_, layer) =>
      this.#fitted(
        this.#blocks[layer],
        members.map((layers) => layers[layer]!),
      ),
    );
    if (fitting.every((block, layer) => block === this.#blocks[layer])) return;
    this.#blocks = fitting;
    this.#members.forEach((cache, lane) => void cache.relocate(fitting.map((block) => block.view(lane))));
  }

  /** The block, or one with as many lanes and rows as are needed. */
  #fitted(block: RowBlock | undefined, lanes: readonly LaneRows[]): RowBlock {
    const held = lanes.map((each) => each.held);
    const rows = Math.max(...held.flat()) + 1;
    const most = roomFor(Math.max(rows, ...this.#most.values()), Number.POSITIVE_INFINITY);
    const fits = block?.shape.lanes === lanes.length && hasRoom(block, held);
    if (fits && !isWasteful(block, held, 3, block.layout.ends ? undefined : most)) return block;
    return gathered(lanes[0]!.block.shape, lanes, (count) => roomFor(count, Number.POSITIVE_INFINITY));
  }
}

/** Rows of a lane, on average over its layers, that are never exceeded by a sequence that will need `most` on average, its padding among others included. */
export function roomPromised({ layers, heads }: Pick<CachePolicy, 'layers' | 'heads'>, most: number): number {
  return layers === 'unequal' || heads === 'unequal'
    ? roomForUnequal(most)
    : roomFor(most, Number.POSITIVE_INFINITY);
}

/** [layers] rows of a head, on average, that a cache will take when it needs `most` on average, if each layer and head keeps its part. */
function roomAtTheEnd(cache: KVCache, most: number, packed: boolean): number[] {
  const held = cache.rows().map((rows) => rows.held);
  const mean = held.flat().reduce((sum, each) => sum + each, 0) / held.flat().length;
  return held.map((heads) => {
    const rooms = heads.map((each) =>
      roomFor(Math.ceil((each / mean) * (most - 1)) + 1, Number.POSITIVE_INFINITY),
    );
    return packed ? rooms.reduce((sum, room) => sum + room, 0) / rooms.length : Math.max(...rooms);
  });
}

/** What caches must have in common to share a pool: what the graph is fed with, and asked for. */
export function kindOf({ policy, biases }: Pick<KVCache, 'policy' | 'biases'>): string {
  const { attention, peak = false, layers = 'equal', heads = 'shared' } = policy;
  return JSON.stringify([attention === 'always', peak, layers, heads === 'unequal', biases]);
}

/** The rows of one of `count` sequences. */
function rowsOf({ keys, values, attention }: LayerRows, index: number, count: number): LayerRows {
  const part = (array: Float32Array) => {
    const size = array.length / count;
    return array.subarray(index * size, (index + 1) * size);
  };
  return { keys: part(keys), values: part(values), ...(attention && { attention: part(attention) }) };
}
