import { allowance, type Budget, checkBudget, checkBudgetHoldsAnEntry, largestHeld } from './budget.js';
import { checkedSequence, checkPolicy } from './checked-policy.js';
import { EntryList, positionsBySlot } from './entry-list.js';
import { evict } from './evict.js';
import { KeySketcher } from './key-sketch.js';
import type { Allowance, CachePolicy } from './policy.js';
import { PromptNotes } from './prompt-notes.js';
import { type Part, partsOf, windowedParts } from './prompt-parts.js';
import { appendRows, compressPrompt } from './rebuild.js';
import { observe, type Sequence } from './received.js';
import type { KeyRotation } from './rotation.js';
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
  noSuchLayer,
  wholeShape,
} from './shape.js';
import { type LayerMemory, roomFor, SlotStore } from './slot-store.js';
import { type CacheStats, collectStats } from './stats.js';

export type { AppendOptions, Part };
export interface KVCacheOptions extends Partial<CacheShape> {
  readonly policy: CachePolicy;
  readonly budget: Budget;
}

/** The key-value cache of a batch of sequences (usually one): a policy decides what stays, the slot stores hold it. */
export class KVCache {
  readonly policy: CachePolicy;
  readonly budget: Budget;
  #shape: Required<CacheShape> | undefined;
  #stores: SlotStore[] = [];
  #sequences: Sequence[] = [];
  #seen = 0;
  #prefilled = false;
  #sketcher: KeySketcher | undefined;
  readonly #notes: PromptNotes;

  /** @throws ElasticCacheError 'invalid-budget', 'invalid-policy' or 'invalid-shape' */
  constructor({ policy, budget, ...shape }: KVCacheOptions) {
    this.policy = checkPolicy(policy);
    this.budget = checkBudget(budget);
    this.#notes = new PromptNotes(policy);
    const whole = wholeShape(shape);
    if (whole) this.bind(whole);
  }

  /**
   * Gives the cache the shape of a model; binding the same shape again does nothing.
   * @param windows [layers] how many tokens a query of that layer sees, itself and those before it; undefined for all
   * @throws ElasticCacheError 'invalid-shape' when it was made for another model, or holds another batch
   */
  bind(shape: CacheShape, windows: readonly (number | undefined)[] = []): void {
    const wanted = checkShape(shape);
    this.#notes.windows = windows;
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
    if (this.policy.needsKeys) this.#sketcher = new KeySketcher(wanted);
    this.reset();
  }

  /** Forgets every token; policy, budget and shape stay. */
  reset(): void {
    this.#seen = 0;
    this.#prefilled = false;
    this.#notes.reset();
    this.#stores = [];
    this.#sequences = [];
    const shape = this.#shape;
    if (shape === undefined) return;
    this.#stores = Array.from({ length: shape.layers }, () => new SlotStore(shape));
    this.#sequences = Array.from({ length: shape.batch }, () => ({
      policy: checkedSequence(this.policy, shape.layers),
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
    if (!this.policy.compactPositions) return this.#seen;
    return this.#stores.reduce((most, _, layer) => Math.max(most, this.held(layer)), 0);
  }

  /** Entries that a layer holds; the most over the rows of the batch. */
  held(layer: number): number {
    return this.#rows(layer).reduce((most, entries) => Math.max(most, entries.length), 0);
  }

  /** Whether the next append must bring attention; of a prompt in parts, {@link parts} tells which must. */
  attentionNeeded(): boolean {
    const { attention } = this.policy;
    return attention === 'always' || (attention === 'prefill' && !this.#prefilled);
  }

  /** The parts of at most `most` tokens in which to append those to come; a prompt is parted where the policy's window begins. */
  parts(tokens: number, most: number): Part[] {
    const { window } = this.policy;
    if (window !== undefined && !this.#prefilled) return windowedParts(tokens, most, window);
    return partsOf(tokens, most, this.attentionNeeded());
  }

  /** Tells, before a prompt, which of its tokens stand for a part of an image: [batch] of [tokens], 1 for those. */
  noteImage(image: readonly Uint8Array[]): void {
    this.#notes.image = image;
  }

  /** Whether {@link noteRotation} must come before the prompt is complete. */
  get rotationNeeded(): boolean {
    return this.#notes.rotationNeeded;
  }

  /** Tells how the model rotates the keys of each layer. */
  noteRotation(rotations: readonly KeyRotation[]): void {
    this.#notes.rotations = rotations;
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
   * @throws ElasticCacheError 'invalid-shape', and the cache is then as it was; 'invalid-policy', and it is then empty
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
    if (store === undefined) throw noSuchLayer(layer, this.#stores.length);
    const { keys, values, bias, capacity } = store;
    return { keys, values, bias, capacity, positions: () => positionsBySlot(this.#rows(layer), capacity) };
  }

  stats(): CacheStats {
    return collectStats(this.policy.name, this.#seen, this.#stores, this.#sequences);
  }

  #append(layers: readonly LayerRows[], tokens: number, bySlot: boolean, promptContinues: boolean): void {
    const shape = this.#shape;
    if (shape === undefined)
      throw invalidShape('the cache has no shape yet: give it layers, kvHeads and headDim, or bind() it.');
    const capacities = this.#stores.map((store) => store.capacity);
    const completesPrompt = !this.#prefilled && !promptContinues;
    const needed = this.#needed(layers, completesPrompt);
    checkRows(
      layers,
      tokens,
      shape,
      needed
        ? (layer, row) =>
            (bySlot ? capacities[layer]! : this.#sequences[row]!.entries[layer]!.length) + tokens
        : undefined,
    );
    if (!this.#prefilled) this.#notes.addPart(this.#seen, tokens, needed, completesPrompt, shape.batch);
    if (this.#sketcher) this.#sketch(this.#sketcher, layers, tokens);

    // 1. The new rows go into slots; the last part of a prompt is compressed from where it lies.
    if (completesPrompt) this.#addEntries(tokens);
    else this.#write(layers, tokens, promptContinues);
    this.#seen += tokens;
    try {
      // 2. Everything held learns what it received from the new queries.
      if (needed) observe(this.#sequences, { layers, tokens, bySlot, capacities }, this.#prefilled);
      // 3. The policy brings the layers down to the budget.
      if (promptContinues) return;
      const allowed = allowance(this.budget, this.#seen, bytesPerEntry(shape), this.policy.minimum);
      if (completesPrompt) this.#compress(layers, tokens, allowed);
      else evict(this.#stores, this.#sequences, allowed, (slots) => this.#roomFor(slots));
    } catch (cause) {
      this.reset(); // A policy that failed midway leaves nothing to go on from.
      throw cause;
    }
  }

  #sketch(sketcher: KeySketcher, layers: readonly LayerRows[], tokens: number): void {
    const keys = this.#sequences.map((_, row) => sketcher.sketch(layers, row, tokens));
    if (this.#prefilled) this.#sequences.forEach(({ policy }, row) => void policy.added?.(keys[row]!));
    else this.#notes.addKeys(keys);
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

  #compress(layers: readonly LayerRows[], tokens: number, allowed: Allowance): void {
    const { layers: count, ...shape } = this.#shape!;
    const edits = this.#sequences.map(({ policy, entries }, row) =>
      policy.prefill(this.#notes.views(row, entries, allowed)),
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
        {
          logCountBias: this.policy.logCountBias ?? false,
          rotation: this.policy.turnMergedKeys ? this.#notes.rotations?.[layer] : undefined,
        },
      );
    }
    this.#prefilled = true;
    this.#notes.reset();
  }

  /** Whether these rows must have attention: before the window of a policy that has one there is none to bring. */
  #needed(layers: readonly LayerRows[], completesPrompt: boolean): boolean {
    if (this.#prefilled || this.policy.window === undefined) return this.attentionNeeded();
    return completesPrompt || layers[0]?.attention !== undefined;
  }

  #roomFor(slots: number): number {
    return roomFor(slots, largestHeld(this.budget, bytesPerEntry(this.#shape!)) + 1);
  }

  #rows(layer: number): readonly EntryList[] {
    if (this.#stores[layer] === undefined) throw noSuchLayer(layer, this.#stores.length);
    return this.#sequences.map(({ entries }) => entries[layer]!);
  }
}
