import type { CacheShape, LayerRows } from './shape.js';

/** Numbers in a sketch at the most: enough for the cosine of two keys, little beside the keys of all layers. */
const CHANNELS = 1024;

/** Where to look next, as a share of what a number of the sketch stands for: never the same channel of every head. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Tells what the keys of each new token are like, over all layers and heads: the keys themselves, one after the other, or CHANNELS of their channels spread
 * evenly, scaled to length 1, so that the product of two sketches is (about) the cosine of their keys.
 */
export class KeySketcher {
  readonly #kvHeads: number;
  readonly #headDim: number;
  /** [channels] layer, head and place in the head's key of each number of a sketch */
  readonly #layers: Int32Array;
  readonly #heads: Int32Array;
  readonly #places: Int32Array;

  constructor({ layers, kvHeads, headDim }: CacheShape) {
    const perLayer = kvHeads * headDim;
    const all = layers * perLayer;
    const channels = Int32Array.from({ length: Math.min(all, CHANNELS) }, (_, index) =>
      all <= CHANNELS ? index : ((index + ((index * GOLDEN) % 1)) * all) / CHANNELS,
    );
    this.#kvHeads = kvHeads;
    this.#headDim = headDim;
    this.#layers = channels.map((channel) => channel / perLayer);
    this.#heads = channels.map((channel) => (channel % perLayer) / headDim);
    this.#places = channels.map((channel) => channel % headDim);
  }

  /**
   * @param layers [layers] keys [batch, kvHeads, tokens, headDim], after rotation
   * @returns [tokens] of [channels], of one row of the batch
   */
  sketch(layers: readonly Pick<LayerRows, 'keys'>[], row: number, tokens: number): Float32Array[] {
    const size = tokens * this.#headDim;
    return Array.from({ length: tokens }, (_, token) => {
      const start = row * this.#kvHeads * size + token * this.#headDim;
      const sketch = new Float32Array(this.#places.length);
      for (let i = 0; i < sketch.length; i++) {
        sketch[i] = layers[this.#layers[i]!]!.keys[start + this.#heads[i]! * size + this.#places[i]!]!;
      }
      return scaledToOne(sketch);
    });
  }
}

/** Cosine of two keys by their sketches, from -1 to 1. */
export function similarity(a: Float32Array, b: Float32Array): number {
  // Four sums side by side: no addition has to wait for the one before it.
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  const whole = a.length - (a.length % 4);
  for (let i = 0; i < whole; i += 4) {
    first += a[i]! * b[i]!;
    second += a[i + 1]! * b[i + 1]!;
    third += a[i + 2]! * b[i + 2]!;
    fourth += a[i + 3]! * b[i + 3]!;
  }
  for (let i = whole; i < a.length; i++) first += a[i]! * b[i]!;
  return first + second + third + fourth;
}

function scaledToOne(sketch: Float32Array): Float32Array {
  const length = Math.sqrt(similarity(sketch, sketch));
  if (length > 0) for (let i = 0; i < sketch.length; i++) sketch[i] = sketch[i]! / length;
  return sketch;
}
