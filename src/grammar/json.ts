import { character, PLAIN, type Points, without } from './characters.js';
import { Decimals, type NumberLimits } from './decimals.js';
import type { Expression, Expressions } from './expressions.js';
import { PatternReader } from './patterns.js';

/** A property of an object, in the order in which they are written. */
export interface Property {
  readonly name: string;
  readonly value: Expression;
  readonly isRequired: boolean;
}

const [QUOTE, BACKSLASH] = [0x22, 0x5c];

/** JSON (RFC 8259) as expressions: space between its parts is one blank, or a line and its indent, so that no text is spaces without end. */
export class Json {
  readonly #space: Expression;
  readonly #quote: Expression;
  #any: Extract<Expression, { kind: 'rule' }> | undefined;

  /** @param isAscii whether what is written word by word has no character but those of ASCII, for the rest escapes */
  constructor(
    readonly make: Expressions,
    private readonly isAscii: boolean,
  ) {
    const blank = make.byte(0x20);
    const line = make.sequence(make.byte(0x0a), make.repeat(make.choice(blank, make.byte(0x09)), 0, 24));
    this.#space = make.optional(make.choice(blank, line));
    this.#quote = make.byte(QUOTE);
  }

  /** Any value. */
  get any(): Expression {
    if (this.#any) return this.#any;
    const rule = this.make.rule();
    this.#any = rule;
    rule.is = this.make.choice(
      this.object([], rule),
      this.array([], rule, 0, Number.POSITIVE_INFINITY),
      this.string(),
      this.number({ isInteger: false }),
      this.values([true, false, null]),
    );
    return rule;
  }

  /** Exactly this value, without space. */
  value(value: unknown): Expression {
    return this.values([value]);
  }

  /** Exactly one of these values. */
  values(values: readonly unknown[]): Expression {
    const texts = new Set(values.map((value) => this.#textOf(value)));
    return this.#oneOf(Array.from(texts, (text) => new TextEncoder().encode(text)));
  }

  #textOf(value: unknown): string {
    const text = JSON.stringify(value);
    const asEscape = (half: string) => `\\u${half.charCodeAt(0).toString(16).padStart(4, '0')}`;
    return this.isAscii ? text.replace(/[\x80-\uffff]/g, asEscape) : text;
  }

  /** What they begin with alike is read once, however many there are. */
  #oneOf(texts: readonly Uint8Array[]): Expression {
    const { make } = this;
    const [only] = texts;
    if (texts.length === 1) return make.sequence(...Array.from(only!, (byte) => make.byte(byte)));
    const heads = new Map<number, Uint8Array[]>();
    for (const text of texts) {
      const [head] = text;
      if (head === undefined) continue;
      const tails = heads.get(head) ?? [];
      tails.push(text.subarray(1));
      heads.set(head, tails);
    }
    const ends = texts.some(({ length }) => length === 0) ? [make.empty] : [];
    return make.choice(
      ...Array.from(heads, ([head, tails]) => make.sequence(make.byte(head), this.#oneOf(tails))),
      ...ends,
    );
  }

  string(least = 0, most = Number.POSITIVE_INFINITY): Expression {
    return this.make.sequence(this.#quote, this.make.text(least, most));
  }

  /**
   * A string that a regular expression finds something in, and how many characters it has.
   * @param refuse throws for what cannot be held to: `has a pattern that ...`
   */
  matching(pattern: string, refuse: (reason: string) => never) {
    const { make } = this;
    const { is, least, most } = new PatternReader(make, pattern, this.isAscii, refuse).read();
    return { is: make.sequence(this.#quote, is, this.#quote), least, most };
  }

  number(limits: NumberLimits): Expression {
    const number = Decimals.within(limits);
    return number ? this.make.number(number) : this.make.nothing;
  }

  /** @param more what other properties have; none are written without */
  object(properties: readonly Property[], more: Expression | undefined): Expression {
    const { make } = this;
    const member = (name: Expression, value: Expression) =>
      make.sequence(name, make.byte(0x3a), make.optional(make.byte(0x20)), value);
    const others = more && member(this.#nameBut(properties.map(({ name }) => name)), more);
    const end = make.sequence(this.#space, make.byte(0x7d));
    const comma = make.sequence(make.byte(0x2c), this.#space);
    const later = others ? make.sequence(make.repeat(make.sequence(comma, others)), end) : end;
    // What may come when there is a property before, and when there is none.
    let after = later;
    let first = others ? make.choice(end, make.sequence(this.#space, others, later)) : end;
    for (const { name, value, isRequired } of [...properties].reverse()) {
      const own = member(this.value(name), value);
      const [behind, begun] = [make.sequence(comma, own, after), make.sequence(this.#space, own, after)];
      first = isRequired ? begun : make.choice(begun, first);
      after = isRequired ? behind : make.choice(behind, after);
    }
    return make.sequence(make.byte(0x7b), first);
  }

  /** @param first what the first items are, one each; @param rest what those behind are, from `least` to `most` of these */
  array(first: readonly Expression[], rest: Expression, least: number, most: number): Expression {
    const { make } = this;
    const comma = make.sequence(make.byte(0x2c), this.#space);
    const end = make.sequence(this.#space, make.byte(0x5d));
    const own = first.flatMap((item, place) => (place === 0 ? [item] : [comma, item]));
    const more = make.repeat(make.sequence(comma, rest), Math.max(0, least - 1), most - 1);
    const items = () => {
      if (most === 0) return first.length === 0 ? end : make.sequence(this.#space, ...own, end);
      if (first.length > 0)
        return make.sequence(this.#space, ...own, make.repeat(make.sequence(comma, rest), least, most), end);
      const some = make.sequence(this.#space, rest, more, end);
      return least === 0 ? make.choice(some, end) : some;
    };
    return make.sequence(make.byte(0x5b), items());
  }

  /** A name that is none of those, without escapes, so that it is none of them written otherwise. */
  #nameBut(names: readonly string[]): Expression {
    const { make } = this;
    if (names.length === 0) return this.string();
    const plain = make.sequence(make.repeat(character(make, PLAIN)), this.#quote);
    const other = (rests: readonly number[][]): Expression => {
      const heads = new Map<number, number[][]>();
      for (const [head, ...tail] of rests)
        if (head !== undefined) heads.set(head, [...(heads.get(head) ?? []), tail]);
      const known = Array.from(heads.keys(), (head): Points => [head, head]);
      const unlike = make.sequence(
        character(make, without([...known, [0, 0x1f], [QUOTE, QUOTE], [BACKSLASH, BACKSLASH]])),
        plain,
      );
      const like = [...heads].map(([head, tails]) =>
        make.sequence(character(make, [[head, head]]), other(tails)),
      );
      const ends = rests.every((rest) => rest.length > 0) ? [this.#quote] : [];
      return make.choice(unlike, ...like, ...ends);
    };
    const writable = names.filter((name) => JSON.stringify(name) === `"${name}"`);
    return make.sequence(
      this.#quote,
      other(writable.map((name) => Array.from(name, (letter) => letter.codePointAt(0)!))),
    );
  }
}
