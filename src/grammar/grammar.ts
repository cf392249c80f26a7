import { ElasticCacheError } from '../errors.js';
import { escaped, tailOf } from './characters.js';
import type { Expression, Expressions } from './expressions.js';
import { productive } from './productive.js';

const [QUOTE, BACKSLASH] = [0x22, 0x5c];

/** What is left to say: an expression, and then what is below. One object for one rest. */
interface Rest {
  readonly id: number;
  readonly top: Expression;
  readonly below: Rest | undefined;
}

/** Rests that a text may leave at once, where it can be read in several ways. */
const MOST_RESTS = 512;
/** States that are remembered, with the bytes that lead from one to another. */
const MOST_STATES = 20_000;

/** A place in a text: what may come next. One object for one place, as long as it is remembered. */
export class State {
  readonly #next = new Map<number, State | undefined>();
  /** Which tokens may come next, as its reader keeps it. */
  mask: unknown;

  constructor(
    private readonly grammar: Grammar,
    readonly rests: readonly Rest[],
    /** Whether the text may end here. */
    readonly ended: boolean,
  ) {}

  /** The place behind another byte; undefined where no text goes on so. */
  next(byte: number): State | undefined {
    const known = this.#next.get(byte);
    if (known || this.#next.has(byte)) return known;
    const next = this.grammar.after(this, byte);
    this.#next.set(byte, next);
    return next;
  }

  forget(): void {
    this.#next.clear();
    this.mask = undefined;
  }

  /** In the inside of one JSON string, whatever it is read as: characters that may still come; undefined elsewhere. */
  get textLeft(): number | undefined {
    const [rest, another] = this.rests;
    return !another && rest?.top.kind === 'text' ? rest.top.most : undefined;
  }
}

/**
 * Texts of bytes by an expression, read byte by byte: from every place that is reached some text can be ended. All ways to read a text are followed at once.
 */
export class Grammar {
  readonly start: State;
  readonly #productive: (expression: Expression) => boolean;
  readonly #rests = new Map<string, Rest>();
  readonly #states = new Map<string, State>();
  #nextRest = 0;

  /** @throws ElasticCacheError 'invalid-option' where no text is of this form */
  constructor(
    root: Expression,
    private readonly make: Expressions,
  ) {
    this.#productive = productive(root);
    if (!this.#productive(root))
      throw new ElasticCacheError(
        'invalid-option',
        'The schema of the answer is one that nothing is valid by; say what it may be.',
      );
    this.start = this.#state([this.#push(root, undefined)]);
  }

  /** The place behind a byte. */
  after(state: State, byte: number): State | undefined {
    const behind = state.rests.flatMap(({ top, below }) =>
      this.#said(top, byte).map((left) => this.#push(left, below)),
    );
    return behind.length === 0 ? undefined : this.#state(behind);
  }

  /** What is left of an expression when its first byte is said. */
  #said(top: Expression, byte: number): Expression[] {
    const { make } = this;
    if (top.kind === 'byte') return top.allowed[byte] ? [make.empty] : [];
    if (top.kind === 'number') {
      const number = top.number.step(byte);
      return number ? [make.number(number)] : [];
    }
    if (top.kind !== 'text') return [];
    const { least, most } = top;
    if (byte === QUOTE) return least === 0 ? [make.empty] : [];
    if (most === 0) return [];
    const rest = make.text(Math.max(0, least - 1), most - 1);
    if (byte === BACKSLASH) return [make.sequence(escaped(make), rest)];
    if (byte < 0x20) return [];
    if (byte < 0x80) return [rest];
    const tail = tailOf(make, byte);
    return tail ? [make.sequence(tail, rest)] : [];
  }

  #state(rests: readonly (Rest | undefined)[]): State {
    const found = new Map<number, Rest>();
    let ended = false;
    const seen = new Set<Rest>();
    const waiting = [...rests];
    while (waiting.length > 0) {
      const rest = waiting.pop();
      if (!rest) {
        ended = true;
        continue;
      }
      if (seen.has(rest)) continue;
      seen.add(rest);
      const { top, below } = rest;
      if (top.kind === 'byte' || top.kind === 'text' || top.kind === 'number') {
        found.set(rest.id, rest);
        if (top.kind === 'number' && top.number.ended) waiting.push(below);
      } else if (top.kind === 'both') waiting.push(this.#push(top, below));
      else for (const each of this.#opened(top)) waiting.push(this.#push(each, below));
      if (seen.size > 4 * MOST_RESTS || found.size > MOST_RESTS) {
        throw new ElasticCacheError(
          'invalid-option',
          'The schema of the answer can be read in too many ways at once; make alternatives (anyOf) differ in their first property.',
        );
      }
    }
    const own = [...found.values()].sort((a, b) => a.id - b.id);
    const key = `${ended} ${own.map(({ id }) => id)}`;
    const known = this.#states.get(key);
    if (known) return known;
    if (this.#states.size >= MOST_STATES) this.#forget();
    const state = new State(this, own, ended);
    this.#states.set(key, state);
    return state;
  }

  /** What an expression that says nothing by itself stands for, each of which can be said to an end. */
  #opened(top: Expression): Expression[] {
    const { make } = this;
    const parts = () => {
      if (top.kind === 'choice') return top.options;
      if (top.kind === 'rule') return [top.is!];
      if (top.kind !== 'repeat') return [];
      const { of, least, most } = top;
      const more = most > 0 ? [make.sequence(of, make.repeat(of, Math.max(0, least - 1), most - 1))] : [];
      return least === 0 ? [make.empty, ...more] : more;
    };
    return parts().filter((each) => this.#productive(each));
  }

  /** Lets go of all places, which lead to one another: a text may be long, and many are written by one grammar. */
  #forget(): void {
    for (const state of this.#states.values()) state.forget();
    this.#states.clear();
    this.#rests.clear();
  }

  #push(expression: Expression, below: Rest | undefined): Rest | undefined {
    if (expression === this.make.empty) return below;
    // What comes then is opened when its turn comes: it may be long.
    if (expression.kind === 'both') return this.#push(expression.first, this.#rest(expression.then, below));
    return this.#rest(expression, below);
  }

  #rest(top: Expression, below: Rest | undefined): Rest {
    const key = `${top.id} ${below?.id ?? ''}`;
    const known = this.#rests.get(key);
    if (known) return known;
    const rest = { id: this.#nextRest++, top, below };
    this.#rests.set(key, rest);
    return rest;
  }
}
