import { allowance, type Budget, checkBudget, checkBudgetHoldsAnEntry } from '../cache/budget.js';
import { checkPolicy } from '../cache/checked-policy.js';
import { type Part, partsFor } from '../cache/parts.js';
import type { Allowance, CachePolicy, PolicyState } from '../cache/policy.js';
import { Endings } from './endings.js';
import { Lanes, laneSettings } from './lanes.js';
import type { LaneRows } from './rows/gathered.js';
import type { PastRows, RowBlock } from './rows/row-block.js';
import { type Snapshot, snapshotOf } from './saving/snapshot.js';
import type { AppendOptions, CacheShape, EntryRows, KVCacheOptions, LayerRows, ModelShape } from './shape.js';
import { bytesPerEntry, checkRows, checkSameModel, checkShape, invalidShape, wholeShape } from './shape.js';
import { type CacheStats, collectStats } from './stats.js';
import { mostSimilar } from './turns/most-similar.js';
import type { KeyRotation } from './turns/rotation.js';
import { Turn } from './turns/turn.js';

/**
 * The key-value cache of one sequence, or of several that are generated together, each with its own length: a policy decides what stays, blocks of
 * rows hold it.
 */
export class KVCache {
  readonly policy: CachePolicy;
  readonly budget: Budget;
  /** What others remember of the tokens seen, under names of their own; goes along with a fork and into a file. */
  readonly memo = new Map<string, PolicyState>();
  /** Tokens of a sequence's first turn; undefined before it is complete. */
  readonly firstTurn = (row: number): number | undefined => this.#bound.sequence(row).turns[0];
  /** Whoever keeps a copy of what is held lets it go when that is forgotten. */
  readonly forgotten = new Endings();
  #shape: ModelShape | undefined;
  #windows: readonly (number | undefined)[] = [];
  #rotations: readonly KeyRotation[] | undefined;
  #lanes: Lanes | undefined;
  /** [batch] turns that sequences are reading */
  #turns: (Turn | undefined)[] = [];
  /** Columns of a padded batch beyond the tokens of its longest sequence. */
  #padding = 0;

  /** @throws ElasticCacheError 'invalid-budget', 'invalid-policy' or 'invalid-shape' */
  constructor(options: KVCacheOptions) {
    const { policy, budget, ...shape } = Object(options) as KVCacheOptions;
    this.policy = checkPolicy(policy);
    this.budget = checkBudget(budget);
    const whole = wholeShape(shape);
    if (whole) this.bind(whole);
  }

  /**
   * Gives the cache the shape of a model; binding the same shape again does nothing.
   * @param windows [layers] how many tokens a query of that layer sees, itself and those before it; undefined for all
   * @throws ElasticCacheError 'model-mismatch' when it was made for another model, 'invalid-shape' when it holds another batch
   */
  bind(shape: CacheShape, windows: readonly (number | undefined)[] = []): void {
    const wanted = checkShape(shape);
    if (this.#shape !== undefined) {
      checkSameModel(this.#shape, wanted, this.seen > 0);
      const known = JSON.stringify([this.#shape, this.#windows]);
      if (this.seen > 0 || known === JSON.stringify([wanted, windows])) return;
    }
    checkBudgetHoldsAnEntry(this.budget, bytesPerEntry(wanted));
    this.#shape = wanted;
    this.#windows = windows;
    this.reset();
  }

  /** Forgets every token; policy, budget and shape stay. */
  reset(): void {
    this.#padding = 0;
    this.memo.clear();
    this.abandon();
    this.forgotten.reached();
    if (!this.#shape) return;
    this.#lanes = new Lanes(laneSettings(this.policy, this.budget, this.#shape, this.#windows));
  }

  /** Sequences generated together; 1 until a shape says otherwise. */
  get batch(): number {
    return this.#shape?.batch ?? 1;
  }

  /** Tokens seen, held or not; of a batch, the columns of its inputs: the tokens of the longest sequence and what padding is beside them. */
  get seen(): number {
    return this.#padding + (this.#lanes?.seen ?? 0);
  }

  /** Whether every sequence has seen something, and none is within a turn. */
  get begun(): boolean {
    return this.#bound.sequences.every(({ seen }, row) => seen > 0 && !this.#turns[row]);
  }

  /** Tells how many columns a padded batch has: what {@link seen} is from then on. */
  noteColumns(columns: number): void {
    this.#padding = Math.max(0, columns - this.#bound.seen);
  }

  /** Tokens of a turn that is being read, and not part of {@link seen} before it is complete. */
  get reading(): number {
    return this.#turns.reduce((most, turn) => Math.max(most, turn?.tokens ?? 0), 0);
  }

  /** Tokens that one sequence has seen, those of the turn that it is reading included. */
  seenBy(row: number): number {
    return this.#bound.sequence(row).seen + (this.#turns[row]?.tokens ?? 0);
  }

  /** The position that the next token of a sequence is rotated to. */
  nextPosition(row: number): number {
    if (!this.policy.compactPositions) return this.seenBy(row);
    return this.#bound.sequence(row).most + (this.#turns[row]?.tokens ?? 0);
  }

  /** Entries that a layer holds, in the head that has the most; the most over the sequences. */
  held(layer: number): number {
    return this.#bound.held(layer);
  }

  /** The parts of at most `most` tokens in which to read a turn, and the attention that each must bring. */
  parts(tokens: number, most: number): Part[] {
    return partsFor(this.policy, tokens, most);
  }

  /** Tells, before a turn, which of its tokens stand for a part of an image: [tokens], 1 for those. */
  noteImage(image: Uint8Array, row = 0): void {
    this.#bound.sequence(row).noteImage(image);
  }

  /** Whether {@link noteRotation} must come before a turn is complete. */
  get rotationNeeded(): boolean {
    return this.policy.turnMergedKeys === true && this.#rotations === undefined;
  }

  /** Tells how the model rotates the keys of each layer. */
  noteRotation(rotations: readonly KeyRotation[]): void {
    this.#rotations = rotations;
  }

  /** Allocates memory for the `tokens` of a turn of one sequence that come before the part that completes it, in so many parts. */
  reserve(tokens: number, parts: number, row = 0): void {
    this.#turn(row).reserve(tokens, parts);
  }

  /**
   * Reads a part of a turn of one sequence; the part without `turnContinues` completes it, and the policy then brings every layer down to the budget. The first tokens of a
   * sequence, and whatever comes as several tokens later, are turns.
   * @param layers [layers] keys, values [1, kvHeads, tokens, headDim]
   * @returns a promise where `similar` is asked and takes its time: the turn is complete when it is kept
   * @throws ElasticCacheError 'invalid-shape' or 'invalid-policy'; the sequence then holds what it held before the turn
   */
  appendTurn(
    layers: readonly LayerRows[],
    tokens: number,
    { turnContinues = false, ahead = 0, observed = tokens, similar = mostSimilar, again }: AppendOptions = {},
    row = 0,
  ): void | Promise<void> {
    const turn = this.#turn(row);
    const end = (made?: readonly RowBlock[]) => {
      this.#turns[row] = undefined;
      if (made) this.#bound.install(row, made);
    };
    const fail = (cause: unknown) => {
      end();
      throw cause;
    };
    try {
      if (again) turn.addAgain(layers, tokens);
      else turn.add(layers, tokens, observed, turnContinues);
      if (turnContinues) return undefined;
      const made = turn.complete(this.#allowed(this.seenBy(row), ahead), ahead > 0, this.#rotations, similar);
      return made instanceof Promise ? made.then(end).catch(fail) : end(made);
    } catch (cause) {
      return fail(cause);
    }
  }

  /**
   * Adds one new token to every sequence, or to some, then lets the policy evict what is over the budget.
   * @param layers [layers] keys, values [sequences, kvHeads, 1, headDim]
   * @param rows the sequences, none of which is within a turn; all of them without it
   * @throws ElasticCacheError 'invalid-shape', and the cache is then as it was; 'invalid-policy', and it is then empty
   */
  appendStep(layers: readonly LayerRows[], rows?: readonly number[]): void {
    const lanes = this.#bound;
    const stepping = rows ?? lanes.sequences.map((_, row) => row);
    const fed = this.policy.attention === 'always' && ((layer: number) => lanes.block(layer).capacity);
    checkRows(layers, 1, { ...this.#known, batch: stepping.length }, fed || undefined);
    try {
      lanes.step(layers, stepping, (seen) => this.#allowed(seen));
    } catch (cause) {
      // A policy that failed midway leaves nothing to go on from.
      this.reset();
      throw cause;
    }
  }

  /** What a layer holds for one sequence, or for one of its heads where they choose for themselves, in ascending position, as copies. */
  entries(layer: number, row = 0, head = 0): EntryRows {
    return this.#bound.entries(layer, row, head);
  }

  /**
   * What a layer is fed with: keys and values [lanes, heads, capacity, headDim] as their layout says, bias [lanes, {@link biases}, capacity]. Valid until the next append.
   * @param row a sequence that is run alone; all of them without it
   */
  past(layer: number, row?: number): PastRows {
    if (row === undefined) return this.#bound.block(layer);
    return this.#turns[row]?.past(layer) ?? this.#bound.past(layer, row);
  }

  /** [lanes, lists, capacity] where in the text the entry of each row of {@link past} stands, counted in tokens seen; some number for an empty row. */
  positions(layer: number, row?: number): Int32Array {
    const lanes = row === undefined ? Array.from({ length: this.batch }, (_, lane) => lane) : [row];
    return this.#bound.positions(layer, lanes, this.past(layer, row).layout);
  }

  /** Biases of a row in {@link past}: one, or one for each key head. */
  get biases(): number {
    return this.#bound.settings.biases;
  }

  stats(): CacheStats {
    return collectStats(this.policy.name, this.seen, this.#lanes, this.#shape, this.#turns);
  }

  /** A cache that holds the same and goes its own way from here. @throws ElasticCacheError 'invalid-policy' when the policy does not say what it remembers */
  fork(): KVCache {
    const fork = new KVCache({ policy: this.policy, budget: this.budget });
    fork.takeOver(this);
    return fork;
  }

  /** Holds what another cache of the same policy and budget holds, each its own. @throws ElasticCacheError 'invalid-policy' when the policy does not say what it remembers */
  takeOver(other: KVCache): void {
    if (other.#lanes) this.restore(other.snapshot());
    this.#rotations = other.#rotations;
  }

  /** Everything that is held and remembered, copied. @throws ElasticCacheError 'invalid-policy' as {@link takeOver} */
  snapshot(): Snapshot {
    const { policy, budget, memo } = this;
    const rest = { shape: this.#known, windows: this.#windows, padding: this.#padding };
    return snapshotOf(this.#bound, { policy, budget, memo, ...rest });
  }

  /** Holds what a cache of the same policy and budget held. */
  restore({ shape, windows, padding, memo, sequences, blocks }: Snapshot): void {
    this.#shape = shape;
    this.#windows = windows;
    this.#padding = padding;
    this.abandon();
    this.memo.clear();
    for (const [name, value] of Object.entries(memo)) this.memo.set(name, structuredClone(value));
    this.#lanes = new Lanes(laneSettings(this.policy, this.budget, shape, windows), { sequences, blocks });
  }

  /**
   * Goes back to the end of the turn `turns`, 1 for the first: forgets its answer and everything later. What had made room for that is gone; fork before a turn to undo it.
   * @throws ElasticCacheError 'invalid-option' for a turn that was not read
   */
  trim(turns: number): void {
    this.#bound.sequences.forEach((sequence, lane) => void this.#bound.trim(lane, sequence.endOf(turns)));
    this.#padding = 0;
    this.memo.clear();
  }

  /** [layers] where the rows of a cache of one sequence lie. */
  rows(): LaneRows[] {
    const lanes = this.#bound;
    return lanes.blocks.map((block, layer) => ({ block, lane: 0, held: lanes.heldBy(layer)[0]! }));
  }

  /** Has other memory hold the rows of a cache of one sequence: they are there. @param blocks [layers] */
  relocate(blocks: readonly RowBlock[]): void {
    this.#bound.blocks = [...blocks];
  }

  /** Lets turns that are being read go; what was held before them stays. */
  abandon(): void {
    this.#turns = [];
  }

  #turn(row: number): Turn {
    this.#turns[row] ??= new Turn(this.#bound.sequence(row), this.#bound, row);
    return this.#turns[row];
  }

  #allowed(seen: number, ahead = 0): Allowance {
    return allowance(this.budget, seen, bytesPerEntry(this.#known), this.policy.minimum, ahead);
  }

  get #known(): ModelShape {
    return this.#bound.settings.shape;
  }

  get #bound(): Lanes {
    if (this.#lanes) return this.#lanes;
    throw invalidShape('the cache has no shape yet: use it once, or give it layers, kvHeads and headDim.');
  }
}
