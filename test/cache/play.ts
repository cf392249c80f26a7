import fc from 'fast-check';
import type { Budget } from '../../src/cache/budget.js';
import type { CacheShape, EntryRows } from '../../src/memory/shape.js';
import { OPTIONS, type PolicyOptions } from '../../src/policies/options.js';

/** What the tests drive: the cache and its slow oracle. */
export interface Playable {
  noteImage(image: Uint8Array, row: number): void;
  /** A part of one sequence's turn. */
  turn(tokens: number, given: Given, part: Part, row: number): void;
  /** One more token of every sequence. */
  step(given: readonly Given[]): void;
  entries(layer: number, row?: number, head?: number): EntryRows;
}

export interface Part {
  /** Whether it comes with what the entries receive. */
  readonly attended: boolean;
  readonly continues: boolean;
}

/** What happens to the sequences: one more token of each, or some read a turn each, in chunks of so many tokens. */
export type Event = 'step' | { readonly chunks: readonly (readonly number[])[] };

/** What happens to one sequence: the chunks of each of its turns, and single tokens. */
export function ofOne(...events: readonly ('step' | readonly number[])[]): Event[] {
  return events.map((each) => (each === 'step' ? each : { chunks: [each] }));
}

export type PlayedShape = Required<Pick<CacheShape, 'layers' | 'kvHeads' | 'headDim' | 'batch'>>;

/** What happens after another; first every sequence reads its prompt. */
export interface Script {
  readonly seed: number;
  readonly shape: PlayedShape;
  readonly turns: readonly Event[];
  /** [layers] how many tokens a query sees, itself and those before it; all without it */
  readonly windows?: readonly (number | undefined)[];
  /** The last tokens of a turn that come with attention, in parts of their own; all of them without it. */
  readonly observed?: number | undefined;
  /** Whether those come in one part. */
  readonly observedWhole?: boolean | undefined;
  /** Every token receives the same. */
  readonly flat?: boolean;
  /** Number of the first sequence: what a sequence gets depends on its number alone. */
  readonly firstRow?: number;
}

export interface Setting extends Script {
  readonly budget: Budget;
  readonly startSize: number;
  readonly distance: number;
  readonly window: number;
}

const ROWS = 3;
const chunks = fc.array(fc.integer({ min: 1, max: 24 }), { minLength: 1, maxLength: 3 });
// A single token is no turn.
const later = chunks.map((parts) => (total(parts) > 1 ? parts : [2]));
const byRow = (of: fc.Arbitrary<readonly number[]>) => fc.array(of, { minLength: ROWS, maxLength: ROWS });
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 8, arbitrary: fc.constant('step' as const) },
  { weight: 1, arbitrary: byRow(fc.oneof(later, fc.constant([]))).map((parts) => ({ chunks: parts })) },
);

/** Random settings: budgets of every kind, up to three sequences, each with a prompt of 1 to 72 tokens in chunks, single tokens and longer turns after it. */
export const settings: fc.Arbitrary<Setting> = fc
  .record({
    seed: fc.nat(1e6),
    shape: fc.record({
      layers: fc.integer({ min: 1, max: 3 }),
      kvHeads: fc.constant(2),
      headDim: fc.constant(2),
      batch: fc.integer({ min: 1, max: ROWS }),
    }),
    prompt: byRow(chunks),
    rest: fc.array(event, { maxLength: 24, size: 'max' }),
    windows: fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      {
        weight: 1,
        arbitrary: fc.array(fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }), { maxLength: 3 }),
      },
    ),
    budget: fc.oneof(
      fc.integer({ min: 1, max: 20 }).map((twentieths) => twentieths / 20),
      fc.double({ min: 0.05, max: 1, noNaN: true }),
      fc.integer({ min: 1, max: 40 }).map((tokens) => ({ tokens })),
    ),
    startSize: fc.integer({ min: 0, max: 4 }),
    distance: fc.oneof(fc.integer({ min: -30, max: -1 }), fc.integer({ min: 1, max: 30 })),
    window: fc.integer({ min: 1, max: 40 }),
  })
  .map(({ prompt, rest, ...setting }) => ({
    ...setting,
    turns: [{ chunks: prompt }, ...rest].map((each) => fitted(each, setting.shape.batch)),
  }));

function fitted(each: Event, batch: number): Event {
  return each === 'step' ? each : { chunks: each.chunks.slice(0, batch) };
}

/** What happens to the last sequence of a script, as if it were alone. */
export function lastAlone<S extends Script>(script: S): S {
  const { shape, firstRow = 0, turns } = script;
  const last = shape.batch - 1;
  return {
    ...script,
    shape: { ...shape, batch: 1 },
    firstRow: firstRow + last,
    turns: turns.map((each) => (each === 'step' ? each : { chunks: [each.chunks[last]!] })),
  };
}

/** The same turns, each in one piece. */
export function unchunked<S extends Script>(script: S): S {
  const whole = (parts: readonly number[]) => (parts.length > 0 ? [total(parts)] : []);
  const turns = script.turns.map((each) => (each === 'step' ? each : { chunks: each.chunks.map(whole) }));
  return { ...script, turns };
}

/**
 * Plays a script from one of its events to another; `after` is called behind each, with the tokens that each sequence has seen.
 */
export function play(
  cache: Playable,
  script: Script,
  after?: (seen: readonly number[]) => void,
  from = 0,
  to = script.turns.length,
): void {
  const { seed, firstRow = 0, shape, turns, observed, observedWhole } = script;
  const given = Array.from({ length: shape.batch }, (_, row) => new Given(script, firstRow + row));
  const seen = given.map((_, row) => total(turns.slice(0, from).map((each) => tokensOf(each, row))));
  for (const each of turns.slice(from, to)) {
    if (each === 'step') {
      cache.step(given);
    } else {
      given.forEach((own, row) => {
        const tokens = tokensOf(each, row);
        if (tokens === 0) return;
        cache.noteImage(
          Uint8Array.from({ length: tokens }, (_, i) =>
            hash(seed, 4, firstRow + row, seen[row]! + i) % 3 > 0 ? 1 : 0,
          ),
          row,
        );
        const outside = tokens - (observed ?? tokens);
        const parts = partedAt(each.chunks[row]!, outside);
        const before = partsOf(parts, outside);
        if (observedWhole) parts.splice(before, parts.length, tokens - Math.max(0, outside));
        parts.forEach((part, index) => {
          const read = total(parts.slice(0, index));
          cache.turn(part, own, { attended: read >= outside, continues: index + 1 < parts.length }, row);
        });
      });
    }
    seen.forEach((_, row) => {
      seen[row]! += tokensOf(each, row);
    });
    after?.(seen);
  }
}

function tokensOf(each: Event, row: number): number {
  return each === 'step' ? 1 : total(each.chunks[row]!);
}

/** How many of the parts make `tokens` tokens. */
function partsOf(parts: readonly number[], tokens: number): number {
  return parts.findIndex((_, index) => total(parts.slice(0, index)) >= tokens);
}

/** The same chunks with a border after `place` tokens. */
function partedAt(parts: readonly number[], place: number): number[] {
  let start = 0;
  return parts.flatMap((tokens) => {
    const before = place - start;
    start += tokens;
    return before > 0 && before < tokens ? [before, tokens - before] : [tokens];
  });
}

/** What a sequence is given, whatever the chunks: the keys and values of its tokens and what each receives from each. */
export class Given {
  constructor(
    private readonly script: Pick<Script, 'seed' | 'windows' | 'flat'>,
    private readonly number: number,
  ) {}

  /** Number `i` of a head of the key or value of the token at `position`: 10 bits. */
  at(name: 'keys' | 'values', layer: number, head: number, position: number, i: number): number {
    const kind = name === 'keys' ? 1 : 2;
    return (hash(this.script.seed, kind, layer, this.number, head, position, i) % 1024) / 64 - 8;
  }

  /**
   * What `key` receives in a head from `query`, both positions: a multiple of a power of two, so that sums are exact in any order. Nothing from
   * one that does not see it.
   */
  attention(layer: number, head: number): (query: number, key: number) => number {
    const start = hash(this.script.seed, 3, layer, this.number, head);
    const window = this.script.windows?.[layer] ?? Number.POSITIVE_INFINITY;
    return (query, key) => {
      if (query < key || query - key >= window) return 0;
      if (this.script.flat) return 0.5;
      let state = Math.imul(start ^ Math.imul(query, 0x9e3779b1) ^ Math.imul(key, 0x85ebca6b), 0xc2b2ae35);
      state ^= state >>> 15;
      return (state & 63) / 1024;
    };
  }
}

function hash(...parts: number[]): number {
  let state = 0x9e3779b9;
  for (const part of parts) {
    state = Math.imul(state ^ part, 0x85ebca6b);
    state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
    state ^= state >>> 16;
  }
  return state >>> 0;
}

function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

/** Everything a cache holds, comparable with toEqual: [layers] of [sequences] of [heads], one where they share their choice. */
export function contents(
  cache: Pick<Playable, 'entries'>,
  { layers, batch }: PlayedShape,
  heads: number,
): EntryRows[][][] {
  const each = <T>(count: number, make: (index: number) => T) =>
    Array.from({ length: count }, (_, index) => make(index));
  return each(layers, (layer) =>
    each(batch, (row) => each(heads, (head) => cache.entries(layer, row, head))),
  );
}

/** Those of a setting's values that are options of policies. */
export function optionsIn(setting: PolicyOptions): PolicyOptions {
  return Object.fromEntries(
    Object.entries(setting).filter(([name]) => (OPTIONS as readonly string[]).includes(name)),
  );
}
