import type { EntryList } from './entry-list.js';
import type { PromptEdit } from './policy.js';
import { type KeyRotation, Turn } from './rotation.js';
import { type RowSource, SlotStore, type StoreShape } from './slot-store.js';

/** Part of a prompt: `tokens` rows in order, rows 0 to tokens-1 of the source. */
export interface PromptPart extends RowSource {
  readonly tokens: number;
}

/** How merged entries are made. */
export interface MergeOptions {
  /** Add log(count) to the scores of an entry that stands for several tokens. */
  readonly logCountBias: boolean;
  /** Turns merged keys to the position of their anchor before they are averaged; without it they are averaged as stored. */
  readonly rotation?: KeyRotation | undefined;
}

/**
 * Applies the edits of one layer to a whole prompt in one pass, into a new store, so that the old buffers can go.
 * @param parts the prompt, in order; nothing of it has been removed
 * @param rows the entries of each batch row, rewritten to the kept ones
 */
export function compressPrompt(
  parts: readonly PromptPart[],
  edits: readonly PromptEdit[],
  rows: readonly EntryList[],
  shape: StoreShape,
  capacity: number,
  options: MergeOptions,
): SlotStore {
  const store = new SlotStore(shape, capacity);
  const tokens = parts.reduce((sum, part) => sum + part.tokens, 0);
  edits.forEach((edit, row) => {
    const { keep } = edit;
    for (let slot = 0, count = 0; slot < keep.length; slot += count) {
      const [part, index] = locate(parts, keep[slot]!);
      count = runLength(keep, slot, part.tokens - index);
      store.write(row, slot, part, index, count);
    }
    rows[row]!.compact(keep, merge(store, row, parts, edit, slotsOf(keep, tokens), options));
  });
  return store;
}

/** Averages the merged tokens of a batch row into the slots of their anchors; returns how many tokens each slot stands for. */
function merge(
  store: SlotStore,
  row: number,
  parts: readonly PromptPart[],
  { keep, from = new Int32Array(), into = new Int32Array(), weights }: PromptEdit,
  slotOf: Int32Array,
  { logCountBias, rotation }: MergeOptions,
): Int32Array {
  const counts = new Int32Array(keep.length).fill(1);
  const totals = Float64Array.from(keep, (token) => weights?.[token] ?? 1);
  const slots = into.map((anchor, index) => {
    const slot = slotOf[anchor]!;
    counts[slot]!++;
    totals[slot]! += weights?.[from[index]!] ?? 1;
    return slot;
  });
  const weightOf = (token: number, slot: number) => (weights && totals[slot]! > 0 ? weights[token]! : 1);
  keep.forEach((token, slot) => {
    if (weights && counts[slot]! > 1) store.scale(row, slot, weightOf(token, slot));
  });
  slots.forEach((slot, index) => {
    const token = from[index]!;
    const [part, place] = locate(parts, token);
    const turn = rotation && new Turn(rotation, keep[slot]! - token);
    store.add(row, slot, part, place, weightOf(token, slot), turn);
  });
  counts.forEach((count, slot) => {
    if (count === 1) return;
    store.scale(row, slot, 1 / (weights && totals[slot]! > 0 ? totals[slot]! : count));
    if (logCountBias) store.setBias(row, slot, Math.log(count));
  });
  return counts;
}

/** [tokens] the slot of each kept token, -1 for the others. */
function slotsOf(keep: Int32Array, tokens: number): Int32Array {
  const slots = new Int32Array(tokens).fill(-1);
  keep.forEach((token, slot) => {
    slots[token] = slot;
  });
  return slots;
}

/** Moves the entries of one layer into a store of another capacity, slots 0, 1, 2 ... in logical order. */
export function relocate(store: SlotStore, rows: readonly EntryList[], capacity: number): SlotStore {
  const moved = new SlotStore(store.shape, capacity);
  rows.forEach((entries, row) => {
    const order = entries.order();
    order.forEach((slot, index) => {
      moved.write(row, index, store, slot, 1, store.biasOf(row, slot));
    });
    entries.compact(order);
  });
  return moved;
}

/** Appends `tokens` new entries to each row and copies theirs into the slots they got. */
export function appendRows(
  store: SlotStore,
  rows: readonly EntryList[],
  { keys, values }: { keys: Float32Array; values: Float32Array },
  tokens: number,
): void {
  const source = { keys, values, capacity: tokens };
  rows.forEach((entries, row) => {
    const slots = Int32Array.from({ length: tokens }, () => entries.append());
    for (let token = 0, count = 0; token < tokens; token += count) {
      count = runLength(slots, token, tokens - token);
      store.write(row, slots[token]!, source, token, count);
    }
  });
}

/** How many of `numbers` from `start` follow each other without a gap, `most` at most. */
function runLength(numbers: Int32Array, start: number, most: number): number {
  let length = 1;
  while (length < most && numbers[start + length] === numbers[start]! + length) length++;
  return length;
}

function locate(parts: readonly PromptPart[], token: number): [PromptPart, number] {
  let index = token;
  for (const part of parts) {
    if (index < part.tokens) return [part, index];
    index -= part.tokens;
  }
  throw new RangeError(`token ${token} is behind the end of the prompt.`);
}
