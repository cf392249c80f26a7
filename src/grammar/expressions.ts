import type { Decimals } from './decimals.js';

/**
 * What a text may be, in bytes of UTF-8: a context-free grammar. Alike expressions are one object, so that places in texts can be told apart by what is left to say.
 */
export type Expression =
  /** One byte of a set. */
  | { readonly kind: 'byte'; readonly id: number; readonly allowed: Uint8Array }
  /** One thing and then another. */
  | { readonly kind: 'both'; readonly id: number; readonly first: Expression; readonly then: Expression }
  | { readonly kind: 'choice'; readonly id: number; readonly options: readonly Expression[] }
  | {
      readonly kind: 'repeat';
      readonly id: number;
      readonly of: Expression;
      readonly least: number;
      readonly most: number;
    }
  /** What is told later, so that it can hold itself. */
  | { readonly kind: 'rule'; readonly id: number; is: Expression | undefined }
  /** The inside of a JSON string and the quote behind it, of so many characters. */
  | { readonly kind: 'text'; readonly id: number; readonly least: number; readonly most: number }
  /** The rest of a number. */
  | { readonly kind: 'number'; readonly id: number; readonly number: Decimals };

/** Makes expressions of one grammar. */
export class Expressions {
  readonly #known = new Map<string, Expression>();
  #next = 0;
  readonly nothing: Expression = { kind: 'choice', id: this.#next++, options: [] };
  /** The empty text. */
  readonly empty = this.repeat(this.nothing, 0, 0);

  get count(): number {
    return this.#next;
  }

  /** One byte of several, or of ranges. */
  byte(...ranges: readonly (number | readonly [from: number, to: number])[]): Expression {
    return this.#made(`byte ${ranges.join(' ')}`, (id) => {
      const allowed = new Uint8Array(256);
      for (const range of ranges) {
        const [from, to] = typeof range === 'number' ? [range, range] : range;
        allowed.fill(1, from, to + 1);
      }
      return { kind: 'byte', id, allowed };
    });
  }

  /** Exactly this text. */
  literal(text: string): Expression {
    return this.sequence(...Array.from(new TextEncoder().encode(text), (byte) => this.byte(byte)));
  }

  sequence(...parts: readonly Expression[]): Expression {
    return parts.reduceRight((then, first) => this.#both(first, then), this.empty);
  }

  choice(...options: readonly Expression[]): Expression {
    const own = [...new Set(options)];
    if (own.length === 1) return own[0]!;
    if (own.length === 0) return this.nothing;
    return this.#made(`choice ${own.map(({ id }) => id)}`, (id) => ({ kind: 'choice', id, options: own }));
  }

  optional(expression: Expression): Expression {
    return this.choice(expression, this.empty);
  }

  repeat(of: Expression, least = 0, most = Number.POSITIVE_INFINITY): Expression {
    return this.#made(`repeat ${of.id} ${least} ${most}`, (id) => ({ kind: 'repeat', id, of, least, most }));
  }

  rule(): Extract<Expression, { kind: 'rule' }> {
    return { kind: 'rule', id: this.#next++, is: undefined };
  }

  text(least = 0, most = Number.POSITIVE_INFINITY): Expression {
    return this.#made(`text ${least} ${most}`, (id) => ({ kind: 'text', id, least, most }));
  }

  number(number: Decimals): Expression {
    return this.#made(`number ${number.key}`, (id) => ({ kind: 'number', id, number }));
  }

  #both(first: Expression, then: Expression): Expression {
    if (first === this.empty) return then;
    if (then === this.empty) return first;
    return this.#made(`both ${first.id} ${then.id}`, (id) => ({ kind: 'both', id, first, then }));
  }

  #made<Kind extends Expression>(key: string, make: (id: number) => Kind): Expression {
    const known = this.#known.get(key);
    if (known) return known;
    const made = make(this.#next++);
    this.#known.set(key, made);
    return made;
  }
}
