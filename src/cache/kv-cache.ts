import { allowance, type Budget, checkBudget, checkBudgetHoldsAnEntry, largestHeld } from './budget.js';
import { EntryList } from './entry-list.js';
import type { Allowance, CachePolicy, SequencePolicy } from './policy.js';
import { appendRows, compressPrompt, relocate } from './rebuild.js';
import { addTo, fromLogical, fromSlots } from './received.js';
import {
  type AppendOptions,
  bytesPerEntry,
  type CacheShape,
  checkRows,
  checkSameModel,
  checkShape,
  type EntryRows,
  invalidShape,
  type LayerRows,
  type LayerRowsBySlot,
} from './shape.js';
import { headroom, type LayerMemory, roomFor, SlotStore } from './slot-store.js';
import { type CacheStats, collectStats } from './stats.js';

export type { AppendOptions };

export interface KVCacheOptions extends Partial<CacheShape> {
  readonly policy: CachePolicy;
  readonly budget: Budget;
  /** Add log(count) to the scores of an entry that stands for several tokens. */
  readonly logCountBias?: boolean;
}

/** One row of the batch: the state of its policy and, for each layer, its entries. */
interface Sequence {
  readonly policy: SequencePolicy;
  readonly entries: readonly EntryList[];
}

/** The key-value cache of a batch of sequences (usually one): a policy decides what stays, the slot stores hold it. */
export class KVCache {
  readonly policy: CachePolicy;
  readonly budget: Budget;
  readonly #logCountBias: boolean;
  #shape: Required<CacheShape> | undefined;
  #stores: SlotStore[] = [];
  #sequences: Sequence[] = [];
  #seen = 0;
  #prefilled = false;

  /** @throws ElasticCacheError 'invalid-budget' or 'invalid-shape' */
  constructor({ policy, budget, logCountBias = false, layers, kvHeads, headDim, batch }: KVCacheOptions) {
    this.policy = policy;
    this.budget = checkBudget(budget);
    this.#logCountBias = logCountBias;
    if (layers === undefined && kvHeads === undefined && headDim === undefined) return;
    if (layers === undefined || kvHeads === undefined || headDim === undefined) {
      throw invalidShape(
        'give layers, kvHeads and headDim together, or none of them and let the model bind them.',
      );
    }
    this.bind({ layers, kvHeads, headDim, batch });
  }

  /**
   * Gives the cache the shape of a model; binding the same shape again does nothing.
   * @throws ElasticCacheError 'invalid-shape' when it was made for another model, or holds another batch
   */
  bind(shape: CacheShape): void {
    const wanted = checkShape(shape);
    const bound = this.#shape;
    if (bound !== undefined) {
      checkSameModel(bound, wanted);
      if (bound.batch === wanted.batch) return;
      if (this.#seen > 0) {
        throw invalidShape(
          `this cache holds a batch of ${bound.batch}, not ${wanted.batch}; reset() it or use a new one.`,
        );
      }
    }
    checkBudgetHoldsAnEntry(this.budget, bytesPerEntry(wanted));
    this.#shape = wanted;
    this.reset();
  }

  /** Forgets every token; policy, budget and shape stay. */
  reset(): void {
    this.#seen = 0;
    this.#prefilled = false;
    this.#stores = [];
    this.#sequences = [];
    const shape = this.#shape;
    if (shape === undefined) return;
    this.#stores = Array.from({ length: shape.layers }, () => new SlotStore(shape));
    this.#sequences = Array.from({ length: shape.batch }, () => ({
      policy: this.policy.begin(shape.layers),
      entries: Array.from({ length: shape.layers }, () => new EntryList()),
    }));
  }

  /** Rows generated together; 1 until a shape says otherwise. */
  get batch(): number {
    return this.#shape?.batch ?? 1;
  }

  /** Tokens seen, held or not. */
  get seen(): number {
    return this.#seen;
  }

  /** The position that the next token is rotated to. */
  get nextPosition(): number {
    return this.policy.compactPositions && this.#seen > 0 ? this.held(0) : this.#seen;
  }

  /** Entries that a layer holds; the most over the rows of the batch. */
  held(layer: number): number {
    return this.#rows(layer).reduce((most, entries) => Math.max(most, entries.length), 0);
  }

  /** Whether the next append must bring attention. */
  attentionNeeded(): boolean {
    const { attention } = this.policy;
    return attention === 'always' || (attention === 'prefill' && !this.#prefilled);
  }

  /** Allocates memory for `tokens` to come, the `last` of them in the append that completes them; not anew for each chunk. */
  reserve(tokens: number, last: number): void {
    // The last part of a prompt never goes into the store: it is compressed from where it lies.
    const written = this.#prefilled ? tokens : tokens - last;
    this.#stores.forEach((store, layer) => {
      const needed = this.#slotsNeeded(layer, written);
      if (needed > store.capacity) store.reserve(this.#prefilled ? this.#roomFor(needed) : needed);
    });
  }

  /**
   * Adds `tokens` rows to every layer, then lets the policy bring each layer down to the budget. The first append, with
   * the chunks before it, is the prompt.
   * @param layers [layers] keys, values [batch, kvHeads, tokens, headDim], attention [batch, held + tokens] in logical order
   * @throws ElasticCacheError 'invalid-shape'; the cache is then as it was
   */
  append(layers: readonly LayerRows[], tokens: number, options: AppendOptions = {}): void {
    this.#append(layers, tokens, false, options.promptContinues ?? false);
  }

  /** As {@link append}, with `attentionSlots` [batch, capacity + tokens] in slot order, as the graph returns it. */
  appendSlots(layers: readonly LayerRowsBySlot[], tokens: number, options: AppendOptions = {}): void {
    const rows = layers.map(({ attentionSlots, ...rows }) => ({ ...rows, attention: attentionSlots }));
    this.#append(rows, tokens, true, options.promptContinues ?? false);
  }

  /** What a layer holds for one row of the batch, in logical order, as copies. keys, values [held, kvHeads, headDim] */
  entries(layer: number, row = 0): EntryRows {
    const entries = this.#rows(layer)[row];
    if (entries === undefined) throw invalidShape(`row ${row} is not in this cache.`);
    const order = entries.order();
    return {
      ...this.#stores[layer]!.read(row, order),
      positions: order.map((slot) => entries.position(slot)),
      counts: order.map((slot) => entries.count(slot)),
    };
  }

  /** The memory of a layer: keys, values [batch, kvHeads, capacity, headDim], bias [batch, capacity]. Valid until the next append. */
  past(layer: number): LayerMemory {
    const store = this.#stores[layer];
    if (store === undefined) throw this.#noSuchLayer(layer);
    const { keys, values, bias, capacity } = store;
    return { keys, values, bias, capacity };
  }

  stats(): CacheStats {
    return collectStats(this.policy.name, this.#seen, this.#stores, this.#sequences);
  }

  #append(layers: readonly LayerRows[], tokens: number, bySlot: boolean, promptContinues: boolean): void {
    const shape = this.#shape;
    if (shape === undefined) {
      throw invalidShape('the cache has no shape yet: give it layers, kvHeads and headDim, or bind() it.');
    }
    const before = this.#stores.map((store) => store.capacity);
    const needed = this.attentionNeeded();
    checkRows(
      layers,
      tokens,
      shape,
      needed
        ? (layer, row) => (bySlot ? before[layer]! : this.#sequences[row]!.entries[layer]!.length) + tokens
        : undefined,
    );

    const completesPrompt = !this.#prefilled && !promptContinues;
    // 1. The new rows go into slots; the last part of a prompt is compressed from where it lies.
    if (completesPrompt) this.#addEntries(tokens);
    else this.#write(layers, tokens, promptContinues);
    this.#seen += tokens;
    // 2. Everything held learns what it received from the new queries.
    if (needed) this.#observe(layers, tokens, bySlot, before);
    // 3. The policy brings the layers down to the budget.
    if (promptContinues) return;
    const allowed = allowance(this.budget, this.#seen, bytesPerEntry(shape), this.policy.minimum);
    if (completesPrompt) this.#compress(layers, tokens, allowed);
    else this.#evict(allowed);
  }

  #addEntries(tokens: number): void {
    for (const { entries } of this.#sequences) {
      for (const list of entries) for (let token = 0; token < tokens; token++) list.append();
    }
  }

  #write(layers: readonly LayerRows[], tokens: number, moreToCome: boolean): void {
    this.#stores.forEach((store, layer) => {
      const needed = this.#slotsNeeded(layer, tokens);
      // Empty slots cost attention: within a prompt there are none.
      if (needed > store.capacity) store.grow(moreToCome ? needed : this.#roomFor(needed));
      appendRows(store, this.#rows(layer), layers[layer]!, tokens);
    });
  }

  #slotsNeeded(layer: number, tokens: number): number {
    return this.#rows(layer).reduce((most, list) => Math.max(most, list.slotsNeeded(tokens)), 0);
  }

  #observe(layers: readonly LayerRows[], tokens: number, bySlot: boolean, before: readonly number[]): void {
    this.#sequences.forEach(({ policy, entries }, row) => {
      const received = entries.map((list, layer) => {
        const attention = layers[layer]!.attention!;
        const width = attention.length / this.#sequences.length;
        const own = attention.subarray(row * width, (row + 1) * width);
        return bySlot ? fromSlots(list, own, before[layer]!, tokens) : fromLogical(list, own);
      });
      if (this.#prefilled) policy.observe?.(entries, received);
      else
        entries.forEach((list, layer) => {
          addTo(list.scores, received[layer]!);
        });
    });
  }

  #compress(layers: readonly LayerRows[], tokens: number, allowed: Allowance): void {
    const { layers: count, ...shape } = this.#shape!;
    const edits = this.#sequences.map(({ policy, entries }) =>
      policy.prefill(
        entries.map((list) => ({
          tokens: this.#seen,
          importance: list.scores.subarray(0, this.#seen),
          allowed,
        })),
      ),
    );
    for (let layer = 0; layer < count; layer++) {
      const { keys, values } = layers[layer]!;
      const store = this.#stores[layer]!;
      const held = edits.reduce((most, edit) => Math.max(most, edit[layer]!.keep.length), 0);
      this.#stores[layer] = compressPrompt(
        [
          { keys: store.keys, values: store.values, capacity: store.capacity, tokens: this.#seen - tokens },
          { keys, values, capacity: tokens, tokens },
        ],
        edits.map((edit) => edit[layer]!),
        this.#rows(layer),
        shape,
        this.#roomFor(held + 1),
        this.#logCountBias,
      );
    }
    this.#prefilled = true;
  }

  #evict(allowed: Allowance): void {
    this.#stores.forEach((store, layer) => {
      this.#sequences.forEach(({ policy, entries }, row) => {
        const list = entries[layer]!;
        const next = () => policy.evict(list, allowed, layer);
        for (let slot = next(); slot >= 0; slot = next()) {
          list.remove(slot);
          store.clear(row, slot);
        }
      });
      const needed = this.held(layer) + 1;
      // After a turn of many tokens most slots are empty: give their memory back.
      if (store.capacity > needed + 2 * headroom(needed)) {
        this.#stores[layer] = relocate(store, this.#rows(layer), this.#roomFor(needed));
      }
    });
  }

  #roomFor(slots: number): number {
    return roomFor(slots, largestHeld(this.budget, bytesPerEntry(this.#shape!)) + 1);
  }

  #rows(layer: number): readonly EntryList[] {
    if (this.#stores[layer] === undefined) throw this.#noSuchLayer(layer);
    return this.#sequences.map(({ entries }) => entries[layer]!);
  }

  #noSuchLayer(layer: number): Error {
    return invalidShape(`layer ${layer} is not in this cache, which has ${this.#stores.length} layers.`);
  }
}
