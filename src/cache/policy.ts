/**
 * What a cache method is: it decides which entries stay, and never sees a tensor.
 *
 * How to add one: docs/adding.md.
 */

/** A method with its options. Holds no running state, so one object serves any number of sequences at once. */
export interface CachePolicy {
  readonly name: string;
  /** When it needs the attention that entries receive: while the prompt is read, at every step, or not at all. */
  readonly attention: 'prefill' | 'always' | 'never';
  /** The fewest entries a layer may be cut to, whatever the budget says. */
  readonly minimum: number;
  /** attention 'prefill': only what the last `window` tokens of the prompt attend to counts. Undefined for all of them. */
  readonly window?: number | undefined;
  /** Whether it must know which tokens of the prompt stand for a part of an image. */
  readonly needsImage?: boolean;
  /** Whether it must know what the keys are like: {@link PromptView.keys} and {@link SequencePolicy.added}. */
  readonly needsKeys?: boolean;
  /** New tokens get the number of entries held (the most of any layer) as their position instead of the number of tokens seen. */
  readonly compactPositions?: boolean;
  /** Add log(count) to the scores of an entry that stands for several tokens. */
  readonly logCountBias?: boolean;
  /** Turn the keys of merged entries to the position of their anchor before they are averaged. */
  readonly turnMergedKeys?: boolean;
  /** The running state of one sequence (one row of a batch) over all its layers. */
  begin(layers: number): SequencePolicy;
}

/** How many entries a layer may hold now. */
export interface Allowance {
  /** `max(minimum, floor(share))`, at most the number of tokens seen: what a policy holds to. */
  readonly entries: number;
  /** The budget times the tokens seen, before rounding. */
  readonly share: number;
}

/** One layer of a complete prompt, before anything is removed. Entry `i` is token `i`. */
export interface PromptView {
  readonly tokens: number;
  /** How many tokens a query of this layer sees, itself and those before it; undefined for all. */
  readonly slidingWindow?: number | undefined;
  /** [tokens] attention received: summed over the queries (of the policy's window), averaged over the heads. Zeros for attention 'never'. */
  readonly importance: Float64Array;
  /** [tokens] 1 for a token that stands for a part of an image, 0 for text; undefined where nobody told the cache, unless the policy needs it. */
  readonly image?: Uint8Array | undefined;
  /** [tokens] of [channels]: sketches of their keys over all layers (the same in each view), length 1; undefined unless the policy needs them. */
  readonly keys?: readonly Float32Array[] | undefined;
  readonly allowed: Allowance;
}

/** What becomes of a prompt. An entry neither kept nor merged is dropped. */
export interface PromptEdit {
  /** [kept] entries that stay, ascending. They take the slots 0, 1, 2 ... and keep their scores. */
  readonly keep: Int32Array;
  /** [merges] `from[m]` is averaged into the kept entry `into[m]`: the anchor becomes the mean of itself and all these. */
  readonly from?: Int32Array;
  readonly into?: Int32Array;
  /** [tokens] how much each token counts in these means, 0 or more; all the same without. A mean of zeros counts all the same. */
  readonly weights?: Float64Array;
}

/**
 * The entries of one layer in logical order (ascending position), each in a slot. Walking a step, `at` around one
 * fixed index, and removal are O(1).
 */
export interface Entries {
  readonly length: number;
  /** Tokens the sequence has seen, held or not. */
  readonly seen: number;
  /** Slot of the first and last entry, -1 when there is none. */
  readonly first: number;
  readonly last: number;
  /** Slot after or before `slot` in logical order, -1 at the end. */
  next(slot: number): number;
  previous(slot: number): number;
  /** Slot of the entry at a logical index in [0, length). */
  at(index: number): number;
  /** Original position of the entry, counted in tokens seen. */
  position(slot: number): number;
  /** How many prompt tokens the entry stands for. */
  count(slot: number): number;
  /**
   * By slot: the policy's own number for each entry. The prompt's importance after prefill, 0 for a new token; follows
   * the entry when slots move. Read it afresh on every call.
   */
  readonly scores: Float64Array;
}

export interface SequencePolicy {
  /** Called once, when the prompt is complete; one view and one edit for each layer. */
  prefill(prompts: readonly PromptView[]): PromptEdit[];
  /** Policies that need keys: after new rows were appended behind the prompt, the sketches of their keys, [tokens] of [channels]. */
  added?(keys: readonly Float32Array[]): void;
  /** attention 'always': after new rows were appended, what each entry received from them, by slot, for every layer. */
  observe?(layers: readonly Entries[], received: readonly Float32Array[]): void;
  /** Called after each append until it returns -1: the slot of the entry to evict, or -1 when nothing more has to go. */
  evict(entries: Entries, allowed: Allowance, layer: number): number;
}

/** A {@link SequencePolicy} seen from one layer, for methods that treat each layer by itself. */
export interface LayerPolicy {
  prefill(prompt: PromptView): PromptEdit;
  observe?(entries: Entries, received: Float32Array): void;
  evict(entries: Entries, allowed: Allowance): number;
}

/** Makes a {@link SequencePolicy} of independent layers. */
export function eachLayer(layers: number, begin: () => LayerPolicy): SequencePolicy {
  const states = Array.from({ length: layers }, begin);
  return {
    prefill: (prompts) => prompts.map((prompt, layer) => states[layer]!.prefill(prompt)),
    observe(entries, received) {
      states.forEach((state, layer) => {
        state.observe?.(entries[layer]!, received[layer]!);
      });
    },
    evict: (entries, allowed, layer) => states[layer]!.evict(entries, allowed),
  };
}

/** The edit that keeps a whole prompt of `tokens`. */
export function keepAll(tokens: number): PromptEdit {
  return { keep: Int32Array.from({ length: tokens }, (_, index) => index) };
}
