import { both, character, PLAIN, type Points, without } from './characters.js';
import type { Expression, Expressions } from './expressions.js';

/** A part of a pattern, and how many characters it has. */
interface Part {
  readonly is: Expression;
  readonly least: number;
  readonly most: number;
}

/** What stands in a JSON string as an escape alone, and what escape. */
const ESCAPES: readonly (readonly [point: number, written: string])[] = [
  [0x22, '\\"'],
  [0x5c, '\\\\'],
  [0x08, '\\b'],
  [0x09, '\\t'],
  [0x0a, '\\n'],
  [0x0c, '\\f'],
  [0x0d, '\\r'],
];
const ASCII: readonly Points[] = [[0, 0x7f]];

const DIGITS: readonly Points[] = [[0x30, 0x39]];
const WORD: readonly Points[] = [...DIGITS, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const SPACE: readonly Points[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINES: readonly Points[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CLASSES: Readonly<Record<string, readonly Points[]>> = {
  d: DIGITS,
  w: WORD,
  s: SPACE,
  D: without(DIGITS),
  W: without(WORD),
  S: without(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 0x0a, t: 0x09, r: 0x0d, f: 0x0c, v: 0x0b, '0': 0 };

/**
 * The insides of JSON strings that a regular expression (ECMA-262) finds something in: one that holds to it, written without needless escapes. Anchors at the ends of its alternatives, groups,
 * classes and counts are read; what looks around or back is not.
 */
export class PatternReader {
  #at = 0;

  /**
   * @param isAscii whether no character but those of ASCII may be written
   * @param refuse throws for a reason: `has a pattern that ...`
   */
  constructor(
    private readonly make: Expressions,
    private readonly pattern: string,
    private readonly isAscii: boolean,
    private readonly refuse: (reason: string) => never,
  ) {}

  read(): Part {
    try {
      new RegExp(this.pattern, 'u');
    } catch {
      this.refuse('is no regular expression');
    }
    const anything: Part = {
      is: this.make.repeat(this.#character(without([]))),
      least: 0,
      most: Number.POSITIVE_INFINITY,
    };
    const options: Part[] = [];
    do {
      const parts: Part[] = this.#takes('^') ? [] : [anything];
      parts.push(this.#sequence());
      if (!this.#takes('$')) parts.push(anything);
      options.push(this.#joined(parts));
    } while (this.#takes('|'));
    if (this.#at < this.pattern.length) this.refuse(`has ${this.#next} where it cannot be held to`);
    return this.#either(options);
  }

  /** Up to what ends an alternative. */
  #sequence(): Part {
    const parts: Part[] = [];
    while (this.#at < this.pattern.length && !'|)$'.includes(this.#next)) parts.push(this.#counted());
    return this.#joined(parts);
  }

  #counted(): Part {
    const part = this.#single();
    const [found, star, least, comma, most] =
      /^(?:([*+?])|\{(\d+)(,)?(\d+)?\})/.exec(this.pattern.slice(this.#at)) ?? [];
    if (found === undefined) return part;
    this.#at += found.length;
    // A lazy count finds the same texts.
    this.#takes('?');
    const from = star === undefined ? Number(least) : star === '+' ? 1 : 0;
    const open = star === undefined ? comma !== undefined && most === undefined : star !== '?';
    const to = open ? Number.POSITIVE_INFINITY : star === '?' ? 1 : Number(most ?? least);
    if (part.least === 0 && to > 1) this.refuse('counts what may be empty');
    return {
      is: this.make.repeat(part.is, from, to),
      least: from * part.least,
      most: to === 0 ? 0 : to * part.most,
    };
  }

  #single(): Part {
    const [letter] = [this.#next];
    if (letter === '(') return this.#group();
    if (letter === '[') return this.#one(this.#class());
    if (letter === '^') this.refuse('has ^ elsewhere than in front');
    this.#at += letter.length;
    if (letter === '.') return this.#one(without(LINES));
    return this.#one(letter === '\\' ? this.#escape() : [pointOf(letter)]);
  }

  #group(): Part {
    const [opening] = /^\((?:\?:|\?<[\p{L}_$][\p{L}\p{N}_$]*>)?/u.exec(this.pattern.slice(this.#at))!;
    this.#at += opening.length;
    if (this.#next === '?') this.refuse('looks around, by (?');
    const options: Part[] = [];
    do options.push(this.#sequence());
    while (this.#takes('|'));
    if (!this.#takes(')')) this.refuse('has $ elsewhere than at its end');
    return this.#either(options);
  }

  #class(): readonly Points[] {
    this.#at++;
    const negated = this.#takes('^');
    const points: Points[] = [];
    while (!this.#takes(']')) {
      const from = this.#member();
      const isRange = this.#next === '-' && this.pattern[this.#at + 1] !== ']';
      if (!isRange) {
        points.push(...from);
        continue;
      }
      this.#at++;
      points.push([from[0]![0], this.#member()[0]![1]]);
    }
    return negated ? without(points) : points;
  }

  #member(): readonly Points[] {
    const letter = this.#next;
    this.#at += letter.length;
    if (letter !== '\\') return [pointOf(letter)];
    if (this.#takes('b')) return [[0x08, 0x08]];
    return this.#escape();
  }

  /** Behind the backslash. */
  #escape(): readonly Points[] {
    const letter = this.#next;
    this.#at += letter.length;
    if (Object.hasOwn(CLASSES, letter)) return CLASSES[letter]!;
    if (Object.hasOwn(CONTROLS, letter)) return [[CONTROLS[letter]!, CONTROLS[letter]!]];
    if (letter === 'x' || letter === 'u') {
      const [hex, braced] = /^(?:\{([0-9a-f]+)\}|[0-9a-f]{4}|[0-9a-f]{2})/i.exec(
        this.pattern.slice(this.#at, letter === 'x' ? this.#at + 2 : undefined),
      )!;
      this.#at += hex.length;
      const point = Number.parseInt(braced ?? hex, 16);
      return [[point, point]];
    }
    if (/[a-z0-9]/i.test(letter)) this.refuse(`has \\${letter}, which cannot be held to`);
    return [pointOf(letter)];
  }

  #one(points: readonly Points[]): Part {
    return { is: this.#character(points), least: 1, most: 1 };
  }

  /** A character of a JSON string. */
  #character(points: readonly Points[]): Expression {
    const { make } = this;
    const plain = both(points, this.isAscii ? both(PLAIN, ASCII) : PLAIN);
    const written = ESCAPES.filter(([point]) => points.some(([from, to]) => from <= point && point <= to));
    const options = written.map(([, text]) => make.literal(text));
    if (plain.length > 0) options.push(character(make, plain));
    if (options.length === 0) this.refuse('has a character that cannot be written');
    return make.choice(...options);
  }

  #joined(parts: readonly Part[]): Part {
    const sum = (of: (part: Part) => number) => parts.reduce((total, part) => total + of(part), 0);
    return {
      is: this.make.sequence(...parts.map(({ is }) => is)),
      least: sum(({ least }) => least),
      most: sum(({ most }) => most),
    };
  }

  #either(options: readonly Part[]): Part {
    return {
      is: this.make.choice(...options.map(({ is }) => is)),
      least: Math.min(...options.map(({ least }) => least)),
      most: Math.max(...options.map(({ most }) => most)),
    };
  }

  /** The next character, empty at the end. */
  get #next(): string {
    const point = this.pattern.codePointAt(this.#at);
    return point === undefined ? '' : String.fromCodePoint(point);
  }

  #takes(letter: string): boolean {
    if (this.#next !== letter) return false;
    this.#at += letter.length;
    return true;
  }
}

function pointOf(letter: string): Points {
  const point = letter.codePointAt(0)!;
  return [point, point];
}
