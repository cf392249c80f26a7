import { expect } from 'vitest';
import { Expressions } from '../../src/grammar/expressions.js';
import { Grammar, type State } from '../../src/grammar/grammar.js';
import { Json } from '../../src/grammar/json.js';
import { SchemaReader } from '../../src/grammar/json-schema.js';
import type { Random } from '../../src/random.js';

/** The texts that are valid by a schema. */
export function grammarOf(schema: unknown, isAscii = false): Grammar {
  const make = new Expressions();
  return new Grammar(new SchemaReader(new Json(make, isAscii), schema).read(), make);
}

/** A text of a grammar, byte by byte by chance; undefined where it is not over in time. */
export function written(grammar: Grammar, random: Random, longest = 600): string | undefined {
  const bytes: number[] = [];
  let state: State = grammar.start;
  for (;;) {
    const next = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => state.next(byte));
    // From every place it goes on, or may end.
    expect(next.length > 0 || state.ended).toBe(true);
    if (state.ended && (next.length === 0 || random.chance(0.3)))
      return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes));
    if (bytes.length === longest) return undefined;
    // What ends something comes soon, or texts would hardly end.
    const ending = next.filter((byte) => byte === 0x22 || byte === 0x5d || byte === 0x7d);
    const byte = ending.length > 0 && random.chance(0.4) ? random.pick(ending) : random.pick(next);
    bytes.push(byte);
    state = state.next(byte)!;
  }
}

/** Whether a text is one of a grammar. */
export function accepts(grammar: Grammar, text: string): boolean {
  let state: State | undefined = grammar.start;
  for (const byte of new TextEncoder().encode(text)) state = state?.next(byte);
  return state?.ended ?? false;
}
