/** How the keys of a layer are rotated: in each head, pair `i` of numbers is turned by `frequencies[i]` radians a position. */
export interface KeyRotation {
  /** The first 2 x frequencies numbers of a head are rotated, the rest is not. */
  readonly frequencies: Float64Array;
  /** Whether a pair is two neighbours, or a number of the first half and its counterpart of the second. */
  readonly interleaved: boolean;
}

/** Turns keys by a number of positions. */
export class KeyTurn {
  readonly #cos: Float64Array;
  readonly #sin: Float64Array;
  readonly #interleaved: boolean;

  constructor({ frequencies, interleaved }: KeyRotation, positions: number) {
    this.#cos = frequencies.map((frequency) => Math.cos(frequency * positions));
    this.#sin = frequencies.map((frequency) => Math.sin(frequency * positions));
    this.#interleaved = interleaved;
  }

  /** [headDim] a head of one key at its new position. */
  turned(key: Float32Array | Float64Array): Float64Array {
    const head = Float64Array.from(key);
    const half = this.#cos.length;
    for (let pair = 0; pair < half; pair++) {
      const first = this.#interleaved ? 2 * pair : pair;
      const second = this.#interleaved ? first + 1 : pair + half;
      const [x, y] = [head[first]!, head[second]!];
      head[first] = x * this.#cos[pair]! - y * this.#sin[pair]!;
      head[second] = y * this.#cos[pair]! + x * this.#sin[pair]!;
    }
    return head;
  }
}
