import { ElasticCacheError } from '../errors.js';
import { checkedSequence } from './checked-policy.js';
import { EntryList } from './entry-list.js';
import {
  type Allowance,
  type CachePolicy,
  type Entries,
  headsMayDiffer,
  type PolicyState,
  type SequencePolicy,
  type TurnEdit,
  type TurnView,
} from './policy.js';

/** Queries [start, end) whose attention counts, in tokens seen. */
type Queries = readonly [start: number, end: number];

/** What memory knows of the candidates of a turn and bookkeeping does not. */
export interface CandidateRows {
  /** [candidates] of a layer: the length of each value, of one head or averaged over all. */
  valueNorms(layer: number, head: number | undefined): Float64Array;
  /** The sketch of a token's keys, [channels], by its position. */
  keys?: ((position: number) => Float32Array) | undefined;
}

/** What a sequence is, to go on from it: plain data. */
export interface SequenceState {
  readonly seen: number;
  readonly turns: readonly number[];
  readonly observed: readonly Queries[];
  readonly image: Uint8Array;
  /** [layers] of [heads] */
  readonly entries: readonly (readonly {
    readonly positions: Int32Array;
    readonly counts: Int32Array;
    readonly scores: Float64Array;
  }[])[];
  readonly policy: PolicyState;
}

/**
 * The bookkeeping of one sequence: which entries each layer holds, or each of its heads where they choose for themselves, and what its policy remembers. It knows
 * tokens and rows, and no number of a key or value.
 */
export class Sequence {
  /** [layers] of [heads], one list where the heads share it */
  readonly lists: readonly (readonly EntryList[])[];
  readonly policy: SequencePolicy;
  /** Tokens seen, held or not. */
  seen = 0;
  /** Tokens seen at the end of each turn. */
  readonly turns: number[] = [];
  readonly #method: CachePolicy;
  /** Queries whose attention the scores of the entries hold. */
  #observed: Queries[] = [];
  /** [as far as it was told] 1 for a token that stands for a part of an image */
  readonly #image: number[] = [];

  constructor(method: CachePolicy, layers: number, heads: number, saved?: SequenceState) {
    this.#method = method;
    this.lists = Array.from({ length: layers }, () => Array.from({ length: heads }, () => new EntryList()));
    this.policy = checkedSequence(method, layers, saved?.policy);
    if (!saved) return;
    this.seen = saved.seen;
    this.turns = [...saved.turns];
    this.#observed = [...saved.observed];
    this.#image.push(...saved.image);
    this.lists.forEach((lists, layer) => {
      lists.forEach((list, head) => {
        const { positions, counts, scores } = saved.entries[layer]![head]!;
        list.replace(positions, counts, scores, this.seen);
      });
    });
  }

  /** Entries of a layer, in the head that holds the most. */
  held(layer: number): number {
    return this.lists[layer]!.reduce((most, { length }) => Math.max(most, length), 0);
  }

  /** [heads] entries of each of a layer's heads. */
  heldBy(layer: number, heads: number): number[] {
    return Array.from({ length: heads }, (_, head) => this.listOf(layer, head).length);
  }

  /** What a head holds: a list of its own, or the one that it shares. */
  listOf(layer: number, head: number): EntryList {
    const lists = this.lists[layer]!;
    return lists[lists.length > 1 ? head : 0]!;
  }

  /** The most entries of any layer. */
  get most(): number {
    return this.lists.reduce((most, _, layer) => Math.max(most, this.held(layer)), 0);
  }

  /** Tells which of the next tokens stand for a part of an image, [tokens]. */
  noteImage(image: Uint8Array): void {
    // Of tokens that nobody told about nothing can be known later.
    if (this.#image.length < this.seen) return;
    this.#image.length = this.seen;
    this.#image.push(...image);
  }

  /** How many of the first `tokens` tokens are known to be text or image. */
  imageKnown(tokens: number): number {
    return Math.min(this.#image.length, tokens);
  }

  /**
   * What the policy chooses from at the end of a turn.
   * @param tokens new ones
   * @param received [layers] of [heads] of [held + tokens]: attention, by row and then by new token
   * @param counted new tokens, the last ones, whose queries `received` is of
   */
  views(
    tokens: number,
    received: readonly (readonly Float64Array[])[],
    counted: number,
    allowed: Allowance,
    windows: readonly (number | undefined)[],
    rows: CandidateRows,
  ): TurnView[][] {
    const end = this.seen + tokens;
    const queries: Queries[] = [
      ...(this.#method.window === undefined ? this.#observed : []),
      ...(counted > 0 ? [[end - counted, end] as const] : []),
    ];
    const told = this.#image.length >= end;
    const tokensOf = (list: EntryList, order: Int32Array, slidingWindow: number | undefined) => {
      const held = order.length;
      const positions = new Int32Array(held + tokens);
      const counts = new Int32Array(held + tokens).fill(1);
      for (let i = 0; i < held; i++) {
        positions[i] = list.position(order[i]!);
        counts[i] = list.count(order[i]!);
      }
      for (let i = 0; i < tokens; i++) positions[held + i] = this.seen + i;
      return {
        positions,
        counts,
        queries: positions.map((position) => seenBy(queries, position, slidingWindow)),
        image: told ? Uint8Array.from(positions, (position) => this.#image[position]!) : undefined,
      };
    };
    // Where nothing is held, every list has the same candidates.
    const fresh = new Map<number | undefined, ReturnType<typeof tokensOf>>();
    return this.lists.map((lists, layer) => {
      const slidingWindow = windows[layer];
      return lists.map((list, head) => {
        const order = list.order();
        const held = order.length;
        const known = held === 0 ? fresh.get(slidingWindow) : undefined;
        const candidates = known ?? tokensOf(list, order, slidingWindow);
        if (held === 0) fresh.set(slidingWindow, candidates);
        const own = received[layer]![head]!;
        const now = own.slice();
        for (let i = 0; i < held; i++) now[i] = own[order[i]!]!;
        const carried = this.#method.window === undefined;
        return {
          ...candidates,
          tokens: held + tokens,
          fresh: tokens,
          slidingWindow,
          received: now,
          importance: carried ? now.map((value, i) => value + (i < held ? list.scores[order[i]!]! : 0)) : now,
          keys: rows.keys && ((candidate: number) => rows.keys!(candidates.positions[candidate]!)),
          valueNorms: () => rows.valueNorms(layer, lists.length > 1 ? head : undefined),
          allowed,
        };
      });
    });
  }

  /**
   * Holds what is left of a turn.
   * @param counts [layers] of [heads] of [kept] how many tokens each entry stands for
   * @param counted as for {@link views}
   * @param goesOn whether the turn goes on
   */
  commit(
    tokens: number,
    counted: number,
    views: readonly (readonly TurnView[])[],
    edits: readonly (readonly TurnEdit[])[],
    counts: readonly (readonly Int32Array[])[],
    goesOn: boolean,
  ): void {
    this.seen += tokens;
    if (!goesOn) this.turns.push(this.seen);
    if (counted > 0) this.#observed.push([this.seen - counted, this.seen]);
    this.lists.forEach((lists, layer) => {
      lists.forEach((list, head) => {
        const { positions, importance } = views[layer]![head]!;
        const { keep } = edits[layer]![head]!;
        list.replace(
          keep.map((candidate) => positions[candidate]!),
          counts[layer]![head]!,
          Float64Array.from(keep, (candidate) => importance[candidate]!),
          this.seen,
        );
      });
    });
  }

  /** One more token, which every layer holds. @param observed whether the scores take in what it attends to */
  append(observed: boolean): void {
    for (const lists of this.lists) for (const list of lists) list.append();
    // What a model writes is text.
    if (this.#image.length === this.seen) this.#image.push(0);
    this.seen++;
    const last = this.#observed.at(-1);
    if (!observed) return;
    if (last?.[1] === this.seen - 1) this.#observed[this.#observed.length - 1] = [last[0], this.seen];
    else this.#observed.push([this.seen - 1, this.seen]);
  }

  /** Tokens seen at the end of the first `turns` turns. @throws ElasticCacheError 'invalid-option' for turns that were not read */
  endOf(turns: number): number {
    const end = this.turns[turns - 1];
    if (Number.isInteger(turns) && end !== undefined) return end;
    throw new ElasticCacheError(
      'invalid-option',
      `this cache has read ${this.turns.length} turns, and cannot go back to ${turns}; give a whole number from 1.`,
    );
  }

  /**
   * Forgets the tokens from `seen` on. Heads that chose for themselves may then hold different numbers of entries: unless they may, each comes down to as many as the one with the fewest, those of
   * the least importance first.
   * @returns [layers] of [heads] rows that were moved, [from, to] one after the other, as the entries went
   */
  trim(seen: number): [from: number, to: number][][][] {
    const moves = this.lists.map((lists) => {
      const moved = lists.map((): [number, number][] => []);
      const remove = (head: number, row: number) => {
        lists[head]!.remove(row);
        moved[head]!.push([lists[head]!.length, row]);
      };
      lists.forEach((list, head) => {
        while (list.length > 0 && list.position(list.last) >= seen) remove(head, list.last);
        list.seen = seen;
      });
      if (headsMayDiffer(this.#method, lists.length)) return moved;
      const fewest = Math.min(...lists.map(({ length }) => length));
      lists.forEach((list, head) => {
        while (list.length > fewest) remove(head, leastOf(list));
      });
      return moved;
    });
    this.seen = seen;
    while (this.turns.length > 0 && this.turns.at(-1)! > seen) this.turns.pop();
    this.#observed = this.#observed
      .filter(([start]) => start < seen)
      .map(([start, end]) => [start, Math.min(end, seen)]);
    this.#image.length = Math.min(this.#image.length, seen);
    return moves;
  }

  /** Everything, to go on from it; copies. Undefined where the policy does not say what it remembers. */
  save(): SequenceState | undefined {
    if (!this.policy.save) return undefined;
    return {
      seen: this.seen,
      turns: [...this.turns],
      observed: [...this.#observed],
      image: Uint8Array.from(this.#image),
      entries: this.lists.map((lists) =>
        lists.map((list) => {
          const rows = Array.from({ length: list.length }, (_, row) => row);
          return {
            positions: Int32Array.from(rows, (row) => list.position(row)),
            counts: Int32Array.from(rows, (row) => list.count(row)),
            scores: Float64Array.from(rows, (row) => list.scores[row]!),
          };
        }),
      ),
      policy: structuredClone(this.policy.save()),
    };
  }
}

/** The row of the entry with the lowest score, of equal ones the earliest. */
function leastOf(list: Entries): number {
  let least = list.first;
  for (let row = list.next(least); row >= 0; row = list.next(row)) {
    if (list.scores[row]! < list.scores[least]!) least = row;
  }
  return least;
}

/** How many of the queries see a token at `position`, through a window that ends with the query itself. */
function seenBy(queries: readonly Queries[], position: number, window = Number.POSITIVE_INFINITY): number {
  return queries.reduce(
    (sum, [start, end]) => sum + Math.max(0, Math.min(end, position + window) - Math.max(start, position)),
    0,
  );
}
