import type { State } from './grammar.js';

/** Masks that are kept. */
const MOST_KEPT = 400;
const NONE = -1;

/** Tokens by their bytes: those that begin alike are looked at together. */
class Trie {
  readonly bytes: number[] = [0];
  readonly firstChild: number[] = [NONE];
  readonly nextSibling: number[] = [NONE];
  /** A token that ends here, and the next one of the same bytes. */
  readonly token: number[] = [NONE];
  readonly alike = new Map<number, number>();

  /** @param ids of tokens, in the order of their bytes */
  constructor(ids: readonly number[], tokens: readonly (Uint8Array | undefined)[]) {
    const path = [0];
    const lastChild: number[] = [NONE];
    let before = new Uint8Array();
    for (const id of ids) {
      const own = tokens[id]!;
      let shared = 0;
      while (shared < own.length && own[shared] === before[shared]) shared++;
      path.length = shared + 1;
      for (const byte of own.subarray(shared)) {
        const [node, parent] = [this.bytes.length, path.at(-1)!];
        this.bytes.push(byte);
        for (const list of [this.firstChild, this.nextSibling, this.token, lastChild]) list.push(NONE);
        if (lastChild[parent] === NONE) this.firstChild[parent] = node;
        else this.nextSibling[lastChild[parent]!] = node;
        lastChild[parent] = node;
        path.push(node);
      }
      const end = path.at(-1)!;
      if (this.token[end] !== NONE) this.alike.set(id, this.token[end]!);
      this.token[end] = id;
      before = own as Uint8Array<ArrayBuffer>;
    }
  }
}

/** Says which tokens may come next, place by place in a text. */
export class TokenMasks {
  readonly #all: Trie;
  /** Tokens that are whole characters which stand in a JSON string as they are, and the others. */
  readonly #plain: readonly { readonly id: number; readonly length: number }[];
  readonly #others: Trie;
  readonly #plainUpTo = new Map<number, Uint32Array>();
  readonly #longest: number;
  #kept: State[] = [];

  /** @param tokens bytes of each by its id, [vocabulary]; undefined for those that are never to come */
  constructor(readonly tokens: readonly (Uint8Array | undefined)[]) {
    const ids = [...tokens.keys()].filter((id) => (tokens[id]?.length ?? 0) > 0);
    ids.sort((a, b) => inOrder(tokens[a]!, tokens[b]!));
    const lengths = new Map(ids.map((id) => [id, plainLength(tokens[id]!)]));
    this.#all = new Trie(ids, tokens);
    this.#others = new Trie(
      ids.filter((id) => lengths.get(id) === undefined),
      tokens,
    );
    this.#plain = ids.flatMap((id) => {
      const length = lengths.get(id);
      return length === undefined ? [] : [{ id, length }];
    });
    this.#longest = this.#plain.reduce((most, { length }) => Math.max(most, length), 0);
  }

  /** A bit for each token that may come next: [vocabulary / 32] */
  of(state: State): Uint32Array {
    const known = state.mask as Uint32Array | undefined;
    if (known) return known;
    const { textLeft } = state;
    const mask = textLeft === undefined ? this.#empty() : Uint32Array.from(this.#plainMask(textLeft));
    this.#walk(textLeft === undefined ? this.#all : this.#others, state, mask);
    if (this.#kept.length >= MOST_KEPT) for (const each of this.#kept.splice(0)) each.mask = undefined;
    this.#kept.push(state);
    state.mask = mask;
    return mask;
  }

  #walk(trie: Trie, start: State, mask: Uint32Array): void {
    const nodes = [0];
    const states = [start];
    while (nodes.length > 0) {
      const state = states.pop()!;
      for (let child = trie.firstChild[nodes.pop()!]!; child !== NONE; child = trie.nextSibling[child]!) {
        const next = state.next(trie.bytes[child]!);
        if (!next) continue;
        for (
          let id: number | undefined = trie.token[child]!;
          id !== undefined && id !== NONE;
          id = trie.alike.get(id)
        )
          mask[id >>> 5]! |= 1 << (id & 31);
        nodes.push(child);
        states.push(next);
      }
    }
  }

  /** Tokens of at most so many plain characters. */
  #plainMask(most: number): Uint32Array {
    const limit = Math.min(most, this.#longest);
    const known = this.#plainUpTo.get(limit);
    if (known) return known;
    const mask = this.#empty();
    for (const { id, length } of this.#plain) if (length <= limit) mask[id >>> 5]! |= 1 << (id & 31);
    this.#plainUpTo.set(limit, mask);
    return mask;
  }

  #empty(): Uint32Array {
    return new Uint32Array(Math.ceil(this.tokens.length / 32));
  }
}

function inOrder(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < a.length && at < b.length; at++) if (a[at] !== b[at]) return a[at]! - b[at]!;
  return a.length - b.length;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Characters of a token that is some of those which stand in a JSON string as they are; undefined for another. */
function plainLength(bytes: Uint8Array): number | undefined {
  if (bytes.some((byte) => byte < 0x20 || byte === 0x22 || byte === 0x5c)) return undefined;
  try {
    return Array.from(utf8.decode(bytes)).length;
  } catch {
    return undefined;
  }
}
