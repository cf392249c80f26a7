import fc from 'fast-check';
import type { Budget } from '../../src/cache/budget.js';
import type { KVCache } from '../../src/cache/kv-cache.js';
import type { CacheShape, LayerRows } from '../../src/cache/shape.js';

/** What the tests drive: the cache and its slow oracle. */
export interface Playable {
  noteImage(image: readonly Uint8Array[]): void;
  append(layers: readonly LayerRows[], tokens: number, options?: { promptContinues?: boolean }): void;
  entries(
    layer: number,
    row?: number,
  ): { keys: Float32Array; values: Float32Array; positions: Int32Array; counts: Int32Array };
}

/** A sequence of turns, each in chunks of so many tokens; the first turn is the prompt. */
export interface Script {
  readonly seed: number;
  readonly shape: Required<CacheShape>;
  readonly turns: readonly (readonly number[])[];
  /** The last tokens of the prompt that come with attention, in parts of their own; all of them without it. */
  readonly observed?: number | undefined;
  /** Number of the first row: what a row gets depends on its number alone. */
  readonly firstRow?: number;
}

export interface Setting extends Script {
  readonly budget: Budget;
  readonly startSize: number;
  readonly distance: number;
  readonly window: number;
}

const chunks = fc.array(fc.integer({ min: 1, max: 24 }), { minLength: 1, maxLength: 3 });
const turn = fc.oneof(
  { weight: 8, arbitrary: fc.constant([1]) },
  { weight: 1, arbitrary: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 3 }) },
);

/** Random settings: budgets of every kind, prompts of 1 to 72 tokens in chunks, single tokens and longer turns after it. */
export const settings: fc.Arbitrary<Setting> = fc.record({
  seed: fc.nat(1e6),
  shape: fc.record({
    layers: fc.integer({ min: 1, max: 3 }),
    kvHeads: fc.constant(2),
    headDim: fc.constant(2),
    batch: fc.integer({ min: 1, max: 3 }),
  }),
  turns: fc
    .tuple(chunks, fc.array(turn, { maxLength: 24, size: 'max' }))
    .map(([prompt, rest]) => [prompt, ...rest]),
  budget: fc.oneof(
    fc.integer({ min: 1, max: 20 }).map((twentieths) => twentieths / 20),
    fc.double({ min: 0.05, max: 1, noNaN: true }),
    fc.integer({ min: 1, max: 40 }).map((tokens) => ({ tokens })),
  ),
  startSize: fc.integer({ min: 0, max: 4 }),
  distance: fc.oneof(fc.integer({ min: -30, max: -1 }), fc.integer({ min: 1, max: 30 })),
  window: fc.integer({ min: 1, max: 40 }),
});

/** Plays a script; `after` is called when a turn is over, with the tokens seen. */
export function play(cache: Playable, script: Script, after?: (seen: number) => void): void {
  const { seed, firstRow = 0, shape, turns } = script;
  const prompt = turns[0]?.reduce((sum, tokens) => sum + tokens, 0) ?? 0;
  cache.noteImage(
    Array.from({ length: shape.batch }, (_, row) =>
      Uint8Array.from({ length: prompt }, (_, token) =>
        hash(seed, 4, firstRow + row, token) % 3 > 0 ? 1 : 0,
      ),
    ),
  );
  let seen = 0;
  for (const turn of turns) {
    const windowStart = seen === 0 ? prompt - (script.observed ?? prompt) : 0;
    const parts = partedAt(turn, windowStart - seen);
    parts.forEach((tokens, chunk) => {
      const layers = Array.from({ length: shape.layers }, (_, layer) => {
        const { attention, ...rows } = rowsOf(
          script,
          layer,
          seen,
          tokens,
          (row) => cache.entries(layer, row).positions,
        );
        return seen >= windowStart ? { ...rows, attention } : rows;
      });
      cache.append(layers, tokens, { promptContinues: chunk + 1 < parts.length });
      seen += tokens;
    });
    after?.(seen);
  }
}

/** The same chunks with a border after `place` tokens. */
function partedAt(chunks: readonly number[], place: number): number[] {
  let start = 0;
  return chunks.flatMap((tokens) => {
    const before = place - start;
    start += tokens;
    return before > 0 && before < tokens ? [before, tokens - before] : [tokens];
  });
}

/** The rows of one layer for the tokens [seen, seen + tokens), whatever the chunks. */
function rowsOf(
  { seed, firstRow = 0, shape: { batch, kvHeads, headDim } }: Script,
  layer: number,
  seen: number,
  tokens: number,
  positionsOf: (row: number) => Int32Array,
): LayerRows & { attention: Float32Array } {
  const keys: number[] = [];
  const values: number[] = [];
  const attention: number[] = [];
  for (let row = 0; row < batch; row++) {
    for (let head = 0; head < kvHeads; head++) {
      for (let token = seen; token < seen + tokens; token++) {
        for (let i = 0; i < headDim; i++) {
          keys.push((hash(seed, 1, layer, firstRow + row, head, token, i) % 1024) / 64 - 8);
          values.push((hash(seed, 2, layer, firstRow + row, head, token, i) % 1024) / 64 - 8);
        }
      }
    }
    const fresh = Int32Array.from({ length: tokens }, (_, index) => seen + index);
    for (const key of [...positionsOf(row), ...fresh]) {
      let sum = 0;
      for (let query = Math.max(seen, key); query < seen + tokens; query++) {
        sum += (hash(seed, 3, layer, firstRow + row, query, key) % 64) / 1024;
      }
      attention.push(sum);
    }
  }
  return {
    keys: Float32Array.from(keys),
    values: Float32Array.from(values),
    attention: Float32Array.from(attention),
  };
}

/** Multiples of a power of two come of this, so that sums are exact in any order. */
function hash(...parts: number[]): number {
  let state = 0x9e3779b9;
  for (const part of parts) {
    state = Math.imul(state ^ part, 0x85ebca6b);
    state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
    state ^= state >>> 16;
  }
  return state >>> 0;
}

/** The same cache driven through `appendSlots`: attention is put in slot order, as the graph returns it. */
export function bySlot(cache: KVCache): Playable {
  return {
    entries: (layer, row) => cache.entries(layer, row),
    noteImage: (image) => cache.noteImage(image),
    append(layers, tokens, options) {
      const reordered = layers.map(({ keys, values, attention }, layer) => {
        if (attention === undefined) return { keys, values };
        const { capacity } = cache.past(layer);
        let start = 0;
        const attentionSlots = new Float32Array(cache.batch * (capacity + tokens));
        for (let row = 0; row < cache.batch; row++) {
          const width = cache.entries(layer, row).positions.length + tokens;
          const own = attention.subarray(start, start + width);
          start += width;
          slotsOf(cache, layer, row).forEach((slot, index) => {
            attentionSlots[row * (capacity + tokens) + slot] = own[index]!;
          });
          attentionSlots.set(own.subarray(width - tokens), row * (capacity + tokens) + capacity);
        }
        return { keys, values, attentionSlots };
      });
      cache.appendSlots(reordered, tokens, options);
    },
  };
}

/** The slot of each entry in logical order, found by its key and value in the layer's memory. */
function slotsOf(cache: KVCache, layer: number, row: number): number[] {
  const { keys, values, bias, capacity } = cache.past(layer);
  const held = cache.entries(layer, row);
  const heads = 2;
  const used = Array.from({ length: capacity }, (_, slot) => slot).filter(
    (slot) => bias[row * capacity + slot]! > Number.NEGATIVE_INFINITY,
  );
  return Array.from(held.positions, (_, entry) => {
    const slot = used.findIndex((candidate) => {
      for (let head = 0; head < heads; head++) {
        for (let i = 0; i < 2; i++) {
          const at = ((row * heads + head) * capacity + candidate) * 2 + i;
          const from = (entry * heads + head) * 2 + i;
          if (keys[at] !== held.keys[from] || values[at] !== held.values[from]) return false;
        }
      }
      return true;
    });
    return used.splice(slot, 1)[0]!;
  });
}

/** Everything a cache holds, comparable with toEqual. */
export function contents(cache: Playable, { layers, batch }: Required<CacheShape>): unknown[] {
  return Array.from({ length: layers }, (_, layer) =>
    Array.from({ length: batch }, (_, row) => cache.entries(layer, row)),
  );
}
