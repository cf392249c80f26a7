import { ElasticCacheError } from '../errors.js';

/** A piece of the new tokens, appended in one go. */
export interface Part {
  readonly tokens: number;
  /** Whether it must bring the attention that entries receive. */
  readonly attention: boolean;
}

/** Pieces of at most `most` tokens. */
export function partsOf(tokens: number, most: number, attention: boolean): Part[] {
  return Array.from({ length: Math.ceil(tokens / most) }, (_, index) => ({
    tokens: Math.min(most, tokens - index * most),
    attention,
  }));
}

/**
 * Pieces of a turn for a policy that looks at the last `window` queries: what comes before them brings no attention.
 * @param whole whether these queries must come in one piece, whatever `most` says
 */
export function windowedParts(tokens: number, most: number, window: number, whole: boolean): Part[] {
  const inside = Math.min(window, tokens);
  return [...partsOf(tokens - inside, most, false), ...partsOf(inside, whole ? inside : most, true)];
}

/** Counts the queries of a turn whose attention has come in, for a policy that looks at the last `window` of them. */
export class WindowCounter {
  #queries = 0;

  constructor(private readonly window: number) {}

  /**
   * Checks the next part of a turn before anything of it is taken in.
   * @param seen tokens of the turn before this part
   * @throws ElasticCacheError 'invalid-shape' when the turn is not split where the window begins
   */
  check(seen: number, tokens: number, attention: boolean, completes: boolean): void {
    const observed = this.#queries + (attention ? tokens : 0);
    const wanted = Math.min(this.window, seen + tokens);
    const gap = !attention && this.#queries > 0;
    if (!gap && (completes ? observed === wanted : observed <= this.window)) return;
    throw new ElasticCacheError(
      'invalid-shape',
      `this policy looks at what the last ${this.window} tokens of a turn attend to: append those by themselves with their attention, and what comes before without.`,
    );
  }

  add(tokens: number): void {
    this.#queries += tokens;
  }
}
