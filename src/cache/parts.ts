import { ElasticCacheError } from '../errors.js';
import type { CachePolicy } from './policy.js';

/** A piece of the new tokens, appended in one go. */
export interface Part {
  readonly tokens: number;
  /** How many of its tokens, the last ones, must bring the attention that they give. */
  readonly observed: number;
}

/** Pieces of at most `most` tokens, as equal as can be: a short one would read all weights for little. @param observed whether attention of all of them is needed */
function partsOf(tokens: number, most: number, observed: boolean): Part[] {
  return equalParts(tokens, most).map((size) => ({ tokens: size, observed: observed ? size : 0 }));
}

/**
 * Pieces of a turn for a policy that looks at the last `window` queries.
 * @param whole whether these queries must come in one piece, whatever `most` says
 */
function windowedParts(tokens: number, most: number, window: number, whole: boolean): Part[] {
  const inside = Math.min(window, tokens);
  const sizes = equalParts(tokens, most);
  if (whole && sizes.at(-1)! < inside) {
    sizes.splice(0, sizes.length, ...equalParts(tokens - inside, most), inside);
  }
  let start = 0;
  return sizes.map((size) => {
    start += size;
    const observed = Math.min(size, Math.max(0, start - (tokens - inside)));
    return { tokens: size, observed };
  });
}

/** The parts of at most `most` tokens in which a policy reads a turn. */
export function partsFor(
  { attention, window, reread, peak = false }: Pick<CachePolicy, 'attention' | 'window' | 'peak' | 'reread'>,
  tokens: number,
  most: number,
): Part[] {
  if (window !== undefined) return windowedParts(tokens, most, window, peak);
  return partsOf(tokens, most, attention !== 'never' && !reread);
}

/** The parts of at most `most` tokens in which a turn is read once more, for what it attends to then. */
export function partsAgain(tokens: number, most: number): Part[] {
  return partsOf(tokens, most, true);
}

/** Pieces of a turn, each of which is compressed before the next is read, and the tokens that follow after each. @param most undefined for one piece */
export function piecesOf(tokens: number, most: number | undefined): { tokens: number; ahead: number }[] {
  let ahead = tokens;
  return equalParts(tokens, most ?? tokens).map((size) => {
    ahead -= size;
    return { tokens: size, ahead };
  });
}

function equalParts(tokens: number, most: number): number[] {
  const count = Math.ceil(tokens / most);
  const size = Math.ceil(tokens / count);
  return Array.from({ length: count }, (_, index) => Math.min(size, tokens - index * size));
}

/** Counts the queries of a turn whose attention has come in, for a policy that looks at the last `window` of them. */
export class WindowCounter {
  #queries = 0;

  constructor(private readonly window: number) {}

  /**
   * Checks the next part of a turn before anything of it is taken in.
   * @param seen tokens of the turn before this part
   * @param observed how many of its last tokens bring their attention
   * @throws ElasticCacheError 'invalid-shape' when that is not what the window asks for
   */
  check(seen: number, tokens: number, observed: number, completes: boolean): void {
    const all = this.#queries + observed;
    const wanted = Math.min(this.window, seen + tokens);
    const gap = this.#queries > 0 && observed < tokens;
    if (!gap && (completes ? all === wanted : all <= this.window)) return;
    throw new ElasticCacheError(
      'invalid-shape',
      `this policy looks at what the last ${this.window} tokens of a turn attend to: give the attention of those alone, as parts() says.`,
    );
  }

  add(queries: number): void {
    this.#queries += queries;
  }
}
