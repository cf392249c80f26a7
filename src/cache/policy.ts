/**
 * What a cache method is: it decides which entries stay, and never sees a tensor. docs/adding.md tells how to add one.
 */
import { ElasticCacheError, shown } from '../errors.js';

/** A method with its options. Holds no running state, so one object serves any number of sequences at once. */
export interface CachePolicy {
  readonly name: string;
  /** When it needs the attention that entries receive: while a turn is read, at every step, or not at all. */
  readonly attention: 'turn' | 'always' | 'never';
  /** The fewest entries a layer may be cut to, whatever the budget says. */
  readonly minimum: number;
  /** attention 'turn': only what the last `window` tokens of the turn attend to counts. Undefined for all of them. */
  readonly window?: number | undefined;
  /**
   * attention 'turn' with a `window` or `reread`: what counts of an entry is the most that one of these queries gave it, what a token gives itself left out, averaged over the
   * query heads; without it, the sum over the queries.
   */
  readonly peak?: boolean;
  /**
   * attention 'turn' without a `window`: a turn is read once more behind itself, for what its tokens attend to then, and the second reading is let go. What the model looks up to say all of it again is
   * what a question may ask for that is not known yet (KVzip, arXiv 2505.23416). Costs another reading of each turn.
   */
  readonly reread?: boolean;
  /**
   * Whether the key heads of a layer share one choice, choose for themselves, each as many entries, or each its own number of them, with the allowance as the mean of a layer's heads (of all layers' where
   * these are 'unequal' too): 'shared' unless told. Where a layer has more than {@link MOST_UNEQUAL_HEADS}, 'unequal' is 'each'.
   */
  readonly heads?: 'shared' | 'each' | 'unequal';
  /** Whether all layers hold as many entries as any other, or each its own number, with the allowance as their mean: 'equal' unless told. */
  readonly layers?: 'equal' | 'unequal';
  /** Whether it must know which tokens stand for a part of an image. */
  readonly needsImage?: boolean;
  /** Whether it must know what the keys are like: {@link TurnView.keys} and {@link SequencePolicy.added}. */
  readonly needsKeys?: boolean;
  /** New tokens get the number of entries held (the most of any layer) as their position instead of the number of tokens seen. */
  readonly compactPositions?: boolean;
  /** This times log(tokens it stands for) is added to the scores of an entry that others were merged into. */
  readonly logCountBias?: number;
  /** Turn the keys of merged entries to the position of their anchor before they are averaged. */
  readonly turnMergedKeys?: boolean;
  /**
   * The running state of one sequence over all its layers.
   * @param saved what {@link SequencePolicy.save} gave, to go on from there
   */
  begin(layers: number, saved?: PolicyState): SequencePolicy;
}

/**
 * Key heads of a layer that may hold different numbers of entries. What each is shown are the rows of all, so that attention multiplies as many times more numbers as there are heads: little beside the
 * weights where some query heads share a key head, and not where every query head has one of its own.
 */
export const MOST_UNEQUAL_HEADS = 8;

/** Whether so many key heads of a layer may hold different numbers of entries under a policy. */
export function headsMayDiffer({ heads }: Pick<CachePolicy, 'heads'>, count: number): boolean {
  return heads === 'unequal' && count <= MOST_UNEQUAL_HEADS;
}

/** What a policy remembers of a sequence: plain data and typed arrays, copied by `structuredClone`. */
export type PolicyState =
  | null
  | boolean
  | number
  | string
  | Int32Array
  | Float32Array
  | Float64Array
  | readonly PolicyState[]
  | { readonly [name: string]: PolicyState };

/** How many entries a layer may hold now, in each of its heads; on average where these hold different numbers. */
export interface Allowance {
  /** `max(minimum, floor(share))`, at most the number of tokens seen: what a policy holds to. */
  readonly entries: number;
  /** The budget times the tokens seen, before rounding. */
  readonly share: number;
}

/**
 * What the heads of one layer choose from at the end of a turn (a prompt, or a later turn of several tokens): the entries held, then the new tokens,
 * in ascending position. Everything is told by candidate. Where heads choose for themselves there is one view for each head.
 */
export interface TurnView {
  /** Candidates. */
  readonly tokens: number;
  /** How many of them, the last, are new: all of them in the first turn. */
  readonly fresh: number;
  /** [tokens] where in the text each stands, counted in tokens seen: 0, 1, 2 ... in the first turn */
  readonly positions: Int32Array;
  /** [tokens] how many tokens each stands for */
  readonly counts: Int32Array;
  /** How many tokens a query of this layer sees, itself and those before it; undefined for all. */
  readonly slidingWindow?: number | undefined;
  /** [tokens] attention received in this turn: over the queries (of the policy's window) as the policy asks for, averaged over the heads. Zeros for attention 'never'. */
  readonly received: Float64Array;
  /**
   * [tokens] `received` and, for a policy without a window, what the entry brought along from earlier turns (and from the steps between them,
   * if the policy kept it up): what it would have received had all been read in one turn.
   */
  readonly importance: Float64Array;
  /** [tokens] how many queries of `importance` could see each. */
  readonly queries: Int32Array;
  /** [tokens] 1 for a token that stands for a part of an image, 0 for text; undefined where nobody told the cache, unless the policy needs it. */
  readonly image?: Uint8Array | undefined;
  /**
   * [channels] the sketch of a candidate's key over all layers (the same in each view), length 1; undefined unless the policy needs them. Made when first asked
   * for, while {@link SequencePolicy.compress} runs.
   */
  readonly keys?: ((candidate: number) => Float32Array) | undefined;
  /** [tokens] the length of each value, averaged over the heads that share this choice. */
  valueNorms(): Float64Array;
  readonly allowed: Allowance;
}

/** What becomes of the candidates of a turn. One that is neither kept nor merged is dropped. */
export interface TurnEdit {
  /** [kept] candidates that stay, ascending. They keep their importance as score. */
  readonly keep: Int32Array;
  /** [merges] `from[m]` is averaged into the kept candidate `into[m]`: the anchor becomes the mean of itself and all these. */
  readonly from?: Int32Array;
  readonly into?: Int32Array;
  /** Instead of `from` and `into`: candidates that are not kept are merged into the anchor whose key is most like their own, by the cosine, in each head by itself. */
  readonly similar?: {
    /** [anchors] kept candidates that may take others in */
    readonly anchors: Int32Array;
    /** Those before this candidate are dropped; 0 without. */
    readonly start?: number;
  };
  /** Whether keys are left as they are and only values averaged. */
  readonly valuesOnly?: boolean;
  /** [tokens] how much each candidate counts in these means, 0 or more; all the same without. A mean of zeros counts all the same. */
  readonly weights?: Float64Array;
}

/**
 * The entries of one layer (or one of its heads) in logical order (ascending position), each in a row. Walking a step, `at` around one
 * fixed index, and removal are O(1). The row of an entry is good until something is removed: remember positions, not rows.
 */
export interface Entries {
  readonly length: number;
  /** Tokens the sequence has seen, held or not. */
  readonly seen: number;
  /** Row of the first and last entry, -1 when there is none. */
  readonly first: number;
  readonly last: number;
  /** Row after or before `row` in logical order, -1 at the end. */
  next(row: number): number;
  previous(row: number): number;
  /** Row of the entry at a logical index in [0, length). */
  at(index: number): number;
  /** Row of the entry at a position of the text, -1 when none is held. */
  rowOf(position: number): number;
  /** Original position of the entry, counted in tokens seen. */
  position(row: number): number;
  /** How many tokens the entry stands for. */
  count(row: number): number;
  /**
   * By row: the policy's own number for each entry. The importance after a turn, 0 for a new token; follows
   * the entry when rows change. Read it afresh on every call.
   */
  readonly scores: Float64Array;
}

export interface SequencePolicy {
  /** Called at the end of each turn of several tokens (or the first); one view and one edit for each layer, or for each head of each layer, [layers] of [heads]. */
  compress(layers: readonly (readonly TurnView[])[]): readonly (readonly TurnEdit[])[];
  /** Policies that need keys: after one new token was appended, the sketch of its key, [channels]. */
  added?(key: Float32Array): void;
  /** attention 'always': after one new token was appended, what each entry received from it, by row, for every layer and head. */
  observe?(layers: readonly (readonly Entries[])[], received: readonly (readonly Float64Array[])[]): void;
  /** Called after each new token until it returns -1: the row of the entry to evict, or -1 when nothing more has to go. */
  evict(entries: Entries, allowed: Allowance, layer: number, head: number): number;
  /** After the entries that stood at `seen` or behind it in the text were taken back. */
  trimmed?(seen: number): void;
  /** What it remembers, for a fork or a file. Without it, a cache under this policy cannot be forked or saved. */
  save?(): PolicyState;
}

/** A {@link SequencePolicy} seen from one choice, that of a layer or of one of its heads, for methods that treat each by itself. */
export interface LayerPolicy {
  compress(turn: TurnView): TurnEdit;
  observe?(entries: Entries, received: Float64Array): void;
  evict(entries: Entries, allowed: Allowance): number;
}

/**
 * Makes a {@link SequencePolicy} of a method that treats each layer by itself and remembers nothing but the scores of its entries.
 * @throws ElasticCacheError 'invalid-policy'
 */
export function eachLayer(method: LayerPolicy): SequencePolicy {
  const { compress, evict } = Object(method) as Partial<LayerPolicy>;
  if (typeof compress !== 'function' || typeof evict !== 'function') {
    throw new ElasticCacheError(
      'invalid-policy',
      `eachLayer() takes a method, an object with compress() and evict(); ${shown(method)} is none.`,
    );
  }
  return {
    compress: (layers) => layers.map((views) => views.map((view) => method.compress(view))),
    observe(layers, received) {
      layers.forEach((lists, layer) => {
        lists.forEach((entries, head) => {
          method.observe?.(entries, received[layer]![head]!);
        });
      });
    },
    evict: (entries, allowed) => method.evict(entries, allowed),
    save: () => null,
  };
}

/** The edit that keeps all `tokens` candidates. @throws ElasticCacheError 'invalid-policy' */
export function keepAll(tokens: number): TurnEdit {
  if (!(Number.isSafeInteger(tokens) && tokens >= 0)) {
    throw new ElasticCacheError(
      'invalid-policy',
      `keepAll() takes how many candidates there are, a whole number from 0; ${shown(tokens)} is none.`,
    );
  }
  return { keep: Int32Array.from({ length: tokens }, (_, index) => index) };
}
