import type { PolicyState } from '../cache/policy.js';
import { similarity } from '../cache/similarity.js';

interface Said {
  readonly key: Float32Array;
  repeated: number;
  /** Layers that have let it go. */
  gone: number;
}

/**
 * How much of each token after the prompt came again later: the sum of the squared cosines of its key and every later one (those that point the other way count
 * nothing). A text repeats its small words over and over, and what is said once is what will be needed; age counts by itself, since every
 * token adds to the sums of all before it. R-KV (arXiv 2505.24133) evicts by the similarity of keys too.
 */
export class Repetition {
  /** By position, from the first after the prompt. */
  readonly #said: (Said | undefined)[] = [];
  /** Those that a layer holds or more. */
  #held: Said[] = [];

  /**
   * @param layers of the cache; a token that all of them have let go is forgotten
   * @param first position of the first token after the prompt
   */
  constructor(
    private readonly layers: number,
    private first: number,
  ) {}

  /** @param key [channels] of the next token, length 1 */
  add(key: Float32Array): void {
    for (const before of this.#held) {
      before.repeated += Math.max(0, similarity(before.key, key)) ** 2;
    }
    const said = { key, repeated: 0, gone: 0 };
    this.#said.push(said);
    this.#held.push(said);
  }

  save(): PolicyState {
    return {
      layers: this.layers,
      first: this.first,
      said: this.#said.map((said) =>
        said ? { key: said.key, repeated: said.repeated, gone: said.gone } : null,
      ),
    };
  }

  static from(saved: PolicyState): Repetition {
    const { layers, first, said } = saved as unknown as {
      layers: number;
      first: number;
      said: (Said | null)[];
    };
    const repetition = new Repetition(layers, first);
    repetition.#said.push(...said.map((each) => (each ? { ...each } : undefined)));
    repetition.#held = repetition.#said.filter((each) => each !== undefined);
    return repetition;
  }

  /** How much of the token at `position`, held by one layer or more, came again; of one from before nothing is known. */
  of(position: number): number {
    return this.#said[position - this.first]?.repeated ?? 0;
  }

  /** Forgets what stands at `seen` or behind it. What it repeated stays counted. */
  trimmed(seen: number): void {
    this.first = Math.min(this.first, seen);
    this.#said.length = Math.min(this.#said.length, seen - this.first);
    this.#held = this.#said.filter((said) => said !== undefined);
  }

  /** One more layer has let the token at `position` go. */
  letGo(position: number): void {
    const said = this.#said[position - this.first];
    if (!said || ++said.gone < this.layers) return;
    this.#said[position - this.first] = undefined;
    this.#held = this.#held.filter((other) => other !== said);
  }
}
