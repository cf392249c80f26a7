import type { Expression, Expressions } from './expressions.js';

/** Code points from one to another. */
export type Points = readonly [from: number, to: number];

/** Code points that UTF-8 has: all but halves of pairs. */
const ALL: readonly Points[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];
/** Where UTF-8 takes another byte. */
const LONGER = [0x7f, 0x7ff, 0xffff];
const TAIL = [0x80, 0xbf] as const;

/** A character of several ranges, as it stands in UTF-8 (RFC 3629). */
export function character(make: Expressions, ranges: readonly Points[]): Expression {
  const parts = ranges.flatMap(([from, to]) => {
    const cuts = [...LONGER.filter((last) => from <= last && last < to), to];
    return cuts.map((last, place) =>
      between(make, utf8(place === 0 ? from : cuts[place - 1]! + 1), utf8(last)),
    );
  });
  return make.choice(...parts);
}

/** What is in neither of several ranges. */
export function without(ranges: readonly Points[]): Points[] {
  return both(ALL, complement(ranges));
}

/** What stands as it is in a JSON string: no escape and no end (RFC 8259, 7). */
export const PLAIN = without([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);

/** What is in both. */
export function both(a: readonly Points[], b: readonly Points[]): Points[] {
  return a.flatMap(([from, to]) =>
    b.flatMap(([start, end]): Points[] =>
      Math.max(from, start) <= Math.min(to, end) ? [[Math.max(from, start), Math.min(to, end)]] : [],
    ),
  );
}

function complement(ranges: readonly Points[]): Points[] {
  const sorted = [...ranges].sort(([a], [b]) => a - b);
  const found: Points[] = [];
  let next = 0;
  for (const [from, to] of sorted) {
    if (from > next) found.push([next, from - 1]);
    next = Math.max(next, to + 1);
  }
  return next <= 0x10ffff ? [...found, [next, 0x10ffff]] : found;
}

/** What may come behind the first byte of a character of several; undefined where none begins so. */
export function tailOf(make: Expressions, byte: number): Expression | undefined {
  if (byte >= 0xc2 && byte <= 0xdf) return make.byte(TAIL);
  const tail = (first: Points, more: number) =>
    make.sequence(make.byte(first), ...Array.from({ length: more }, () => make.byte(TAIL)));
  if (byte >= 0xe0 && byte <= 0xef)
    return tail(byte === 0xe0 ? [0xa0, 0xbf] : byte === 0xed ? [0x80, 0x9f] : TAIL, 1);
  if (byte >= 0xf0 && byte <= 0xf4)
    return tail(byte === 0xf0 ? [0x90, 0xbf] : byte === 0xf4 ? [0x80, 0x8f] : TAIL, 2);
  return undefined;
}

/** What may come behind a backslash in a JSON string (RFC 8259, 7), but for pairs. */
export function escaped(make: Expressions): Expression {
  const letters = (text: string) => make.byte(...new TextEncoder().encode(text));
  const hex = make.byte([0x30, 0x39], [0x41, 0x46], [0x61, 0x66]);
  const single = make.choice(
    make.sequence(make.byte([0x30, 0x39], [0x41, 0x43], [0x45, 0x46], [0x61, 0x63], [0x65, 0x66]), hex),
    make.sequence(letters('dD'), make.byte([0x30, 0x37])),
  );
  return make.choice(letters('"\\/bfnrt'), make.sequence(letters('u'), single, hex, hex));
}

/** Texts from one to another of the same length, in the order of bytes. */
function between(make: Expressions, from: Uint8Array, to: Uint8Array): Expression {
  const [first, last] = [from[0]!, to[0]!];
  if (from.length === 1) return make.byte([first, last]);
  const [lowest, highest] = [from.slice(1).fill(TAIL[0]), from.slice(1).fill(TAIL[1])];
  const part = (byte: Points, low: Uint8Array, high: Uint8Array) =>
    make.sequence(make.byte(byte), between(make, low, high));
  if (first === last) return part([first, first], from.slice(1), to.slice(1));
  const inner = last - first > 1 ? [part([first + 1, last - 1], lowest, highest)] : [];
  return make.choice(
    part([first, first], from.slice(1), highest),
    ...inner,
    part([last, last], lowest, to.slice(1)),
  );
}

function utf8(point: number): Uint8Array {
  return new TextEncoder().encode(String.fromCodePoint(point));
}
