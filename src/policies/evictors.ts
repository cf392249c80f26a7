import type { Entries, PolicyState } from '../cache/policy.js';
import type { RankedTurn } from './ranked-tokens.js';
import type { Repetition } from './repetition.js';

/** What a layer, or one of its heads, gives up while decoding. */
export interface Evictor {
  /** The row of the entry that goes next; `held` is how many may be held. */
  next(entries: Entries, held: number): number;
  save(): PolicyState;
}

/**
 * The place in a compressed turn at which entries are removed (Elastic Cache, section 3.3): `distance` entries before its end, or after
 * its start where positive, or at a share of it between 0 and 1, but never among the first `startSize`.
 */
export function fixedPointOf(held: number, startSize: number, distance: number): number {
  if (distance < 0) return Math.max(startSize, held + distance);
  const place = distance < 1 ? Math.round(distance * (held - 1)) : distance;
  return Math.max(startSize, Math.min(place, held - 1));
}

/** Removes whatever stands at `place`: first in, first out for all that comes after it. Never the newest entry. */
export class AtPlace implements Evictor {
  constructor(private readonly place: number) {}

  next(entries: Entries): number {
    return entries.at(Math.min(this.place, entries.length - 2));
  }

  save(): PolicyState {
    return this.place;
  }

  static from(saved: PolicyState): AtPlace {
    return new AtPlace(saved as number);
  }
}

/**
 * Removes the lowest ranked entries of the turn until `place` of them are left, then whatever stands behind those: the same number of its
 * entries stays for good as with {@link AtPlace}, but the best ranked ones instead of the first. O(1) for each removal.
 */
export class LowestFirst implements Evictor {
  readonly #fixed: AtPlace;

  constructor(
    private readonly turn: HeldTurn,
    private readonly place: number,
  ) {
    this.#fixed = new AtPlace(place);
  }

  next(entries: Entries): number {
    const lowest = this.turn.left > this.place ? this.turn.lowest(entries) : -1;
    return lowest >= 0 ? lowest : this.#fixed.next(entries);
  }

  save(): PolicyState {
    return { place: this.place, turn: this.turn.save() };
  }

  static from(saved: PolicyState): LowestFirst {
    const { place, turn } = saved as { place: number; turn: PolicyState };
    return new LowestFirst(HeldTurn.from(turn), place);
  }
}

/** Of what is held, what a turn may be at the most when much was said after it. */
const OF_TURN = 2 / 3;

/**
 * Removes the lowest ranked entries of the turn while they are more than two thirds of what is held and more than `startSize`, and else, of the entries that came after it,
 * the one most repeated by those after it; of equal ones the earliest. Never the newest entry. O(held) for each removal.
 */
export class RepeatedFirst implements Evictor {
  constructor(
    private readonly turn: HeldTurn,
    private readonly startSize: number,
    private readonly repetition: Repetition,
  ) {}

  next(entries: Entries, held: number): number {
    if (this.turn.left > Math.max(this.startSize, OF_TURN * held)) {
      const lowest = this.turn.lowest(entries);
      if (lowest >= 0) return lowest;
    }
    // A turn may be shorter than the tokens that must stay.
    let most = entries.at(Math.max(this.startSize, this.turn.left));
    let repeated = this.repetition.of(entries.position(most));
    for (let row = entries.next(most); row !== entries.last; row = entries.next(row)) {
      const other = this.repetition.of(entries.position(row));
      if (other > repeated) [most, repeated] = [row, other];
    }
    this.repetition.letGo(entries.position(most));
    return most;
  }

  save(): PolicyState {
    return this.turn.save();
  }
}

/** How many entries are protected for being recent, where those with the least attention go (H2O): half of what is allowed beyond the first `startSize`, at least 1. */
export function recentOf(allowed: number, startSize: number): number {
  return Math.max(1, Math.floor((allowed - startSize) / 2));
}

/** Removes the entry that received the least attention so far, leaving out the first `startSize` and the recent half; of equal ones the earliest. O(held). */
export class LeastAttended implements Evictor {
  constructor(private readonly startSize: number) {}

  next(entries: Entries, held: number): number {
    const recent = recentOf(held, this.startSize);
    let row = entries.at(this.startSize);
    let least = row;
    for (let index = this.startSize; index < entries.length - recent; index++) {
      if (entries.scores[row]! < entries.scores[least]!) least = row;
      row = entries.next(row);
    }
    return least;
  }

  save(): PolicyState {
    return null;
  }
}

/** The entries of a turn that are still held, the lowest ranked to go first. */
export class HeldTurn {
  /** [left or more] positions in the order in which they are kept */
  #order: Int32Array | undefined;

  /** @param order called when the first has to go */
  constructor(
    public left: number,
    private readonly order: () => Int32Array,
  ) {}

  static of({ tokens, positions, ranked }: RankedTurn, keep: Int32Array): HeldTurn {
    const order = () =>
      ranked()
        .subarray(0, keep.length)
        .map((candidate) => positions[candidate]!);
    if (keep.length === tokens) return new HeldTurn(keep.length, order);
    // It was put in order to be cut; nothing of all that this took stays.
    return HeldTurn.from(order());
  }

  static from(saved: PolicyState): HeldTurn {
    const order = saved as Int32Array;
    return new HeldTurn(order.length, () => order);
  }

  /** The row of the lowest ranked, which is then no longer counted; -1 when all that are left went otherwise. */
  lowest(entries: Entries): number {
    this.#order ??= this.order();
    for (let row = -1; this.left > 0; ) {
      row = entries.rowOf(this.#order[--this.left]!);
      if (row >= 0) return row;
    }
    return -1;
  }

  save(): PolicyState {
    this.#order ??= this.order();
    return this.#order.slice(0, this.left);
  }
}
