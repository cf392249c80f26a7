import type { CachePolicy } from '../cache/policy.js';
import { Endings } from './endings.js';
import type { KVCache } from './kv-cache.js';
import type { PastRows } from './lanes.js';
import { headroom, roomFor, roomForUnequal } from './rows/capacity.js';
import { RowBlock } from './rows/row-block.js';
import { invalidShape, type LayerRows } from './shape.js';

/** What one pass of single tokens needs of the sequences that take part in it: a cache of several has it, and lanes that several caches share. */
export interface Batch {
  /** Sequences. */
  readonly batch: number;
  /** Biases of a row in {@link past}. */
  readonly biases: number;
  readonly policy: Pick<CachePolicy, 'attention' | 'peak' | 'layers'>;
  /** Tokens that a sequence has seen, and the position that its next one is rotated to. */
  seenBy(row: number): number;
  nextPosition(row: number): number;
  past(layer: number, row?: number): PastRows;
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
    const layers = this.#blocks.length;
    const longest = new Array<number>(layers).fill(0);
    return [...this.#members, cache]
      .map((each) => ({ each, most: this.#most.get(each) ?? most }))
      .sort((a, b) => a.most - b.most)
      .every(({ each, most }) => {
        atTheEnd(each, layers, most).forEach((rows, layer) => {
          longest[layer] = Math.max(longest[layer]!, rows);
        });
        const rows = longest.reduce((sum, rows) => sum + roomFor(rows, Number.POSITIVE_INFINITY), 0);
        return rows <= layers * roomPromised(this.policy, most);
      });
  }

  /** Takes in a cache of one sequence that has read its prompt. @param most rows of a layer that it will need, at most: no more are allocated for it */
  join(cache: KVCache, most = Number.POSITIVE_INFINITY): void {
    const lane = this.#members.push(cache) - 1;
    this.#most.set(cache, most);
    cache.relocate((layer, own, held) => {
      const before = this.#blocks[layer] ?? new RowBlock({ ...own.shape, lanes: 1 });
      const block = this.#resized(before, layer, lane, held + 1);
      block.copyLane(lane, own, 0, held);
      this.#blocks[layer] = block;
      return block.view(lane);
    });
    this.#rebind();
  }

  /** Lets a member go, with what it holds, or without: it is then of no more use. @param holding whether it goes on elsewhere */
  leave(cache: KVCache, holding: boolean): void {
    const lane = this.#members.indexOf(cache);
    const last = this.#members.pop();
    if (lane < 0 || !last) throw invalidShape('this cache is not in the pool.');
    this.#most.delete(cache);
    cache.relocate((layer, view, held) => {
      const shape = this.#blocks[layer]!.shape;
      const own = new RowBlock({ ...shape, lanes: 1 }, holding ? roomFor(held + 1, held + 1) : 0);
      if (holding) own.copyLane(0, view, 0, held);
      return own;
    });
    if (last !== cache) {
      this.#members[lane] = last;
      last.relocate((layer, view, held) => {
        this.#blocks[layer]!.copyLane(lane, view, 0, held);
        return this.#blocks[layer]!.view(lane);
      });
    }
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

  /**
   * The block, or one with as many lanes and rows as are needed.
   * @param inUse lanes that hold something
   * @param least rows needed beside those of the members
   */
  #resized(block: RowBlock, layer: number, inUse = this.batch, least = 0): RowBlock {
    const rows = this.#members
      .slice(0, inUse)
      .reduce((most, cache) => Math.max(most, cache.held(layer) + 1), least);
    const lanes = this.batch;
    const most = roomFor(Math.max(rows, ...this.#most.values()), Number.POSITIVE_INFINITY);
    const fits = rows <= block.capacity && lanes === block.shape.lanes;
    const wasteful = block.capacity > Math.min(most, rows + 3 * headroom(rows));
    if (fits && !wasteful) return block;
    const resized = new RowBlock({ ...block.shape, lanes }, roomFor(rows, Number.POSITIVE_INFINITY));
    for (let lane = 0; lane < inUse; lane++) {
      resized.copyLane(lane, block, lane, this.#members[lane]!.held(layer));
    }
    return resized;
  }

  /** Makes the blocks as large as they have to be. */
  #fit(): void {
    const fitting = this.#blocks.map((block, layer) => this.#resized(block, layer));
    if (fitting.every((block, layer) => block === this.#blocks[layer])) return;
    this.#blocks = fitting;
    this.#rebind();
  }

  /** Shows the members where their rows lie now. */
  #rebind(): void {
    this.#members.forEach((cache, lane) => {
      cache.relocate((layer) => this.#blocks[layer]!.view(lane));
    });
  }
}

/** Rows of a lane, on average over its layers, that are never exceeded by a sequence that will need `most` on average, its padding among others included. */
export function roomPromised({ layers }: Pick<CachePolicy, 'layers'>, most: number): number {
  return layers === 'unequal' ? roomForUnequal(most) : roomFor(most, Number.POSITIVE_INFINITY);
}

/** [layers] rows that each will need when they need `most` on average, if each keeps its part. */
function atTheEnd(cache: KVCache, layers: number, most: number): number[] {
  const held = Array.from({ length: layers }, (_, layer) => cache.held(layer));
  const mean = held.reduce((sum, each) => sum + each, 0) / layers;
  return held.map((each) => Math.ceil((each / mean) * (most - 1)) + 1);
}

/** What caches must have in common to share a pool: what the graph is fed with, and asked for. */
export function kindOf({ policy, biases }: Pick<KVCache, 'policy' | 'biases'>): string {
  const { attention, peak = false, layers = 'equal' } = policy;
  return JSON.stringify([attention === 'always', peak, layers, biases]);
}

/** The rows of one of `count` sequences. */
function rowsOf({ keys, values, attention }: LayerRows, index: number, count: number): LayerRows {
  const part = (array: Float32Array) => {
    const size = array.length / count;
    return array.subarray(index * size, (index + 1) * size);
  };
  return { keys: part(keys), values: part(values), ...(attention && { attention: part(attention) }) };
}
