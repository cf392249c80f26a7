import { scaledToOne } from '../../cache/similarity.js';
import type { ModelShape } from '../shape.js';

/** Numbers in a sketch at the most: enough for the cosine of two keys, little beside the keys of all layers. */
const CHANNELS = 1024;

/** Where to look next, as a share of what a number of the sketch stands for: never the same channel of every head. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** Reads one head of one key of one layer, [headDim]. */
export type ReadKey = (layer: number, head: number) => Float32Array;

/**
 * Tells what the key of a token is like, over all layers and heads: the keys themselves, one after the other, or CHANNELS of their channels spread
 * evenly, scaled to length 1, so that the product of two sketches is (about) the cosine of their keys.
 */
export class KeySketcher {
  /** [channels] layer, head and place in the head's key of each number of a sketch */
  readonly #layers: Int32Array;
  readonly #heads: Int32Array;
  readonly #places: Int32Array;

  constructor({ layers, kvHeads, headDim }: Pick<ModelShape, 'layers' | 'kvHeads' | 'headDim'>) {
    const perLayer = kvHeads * headDim;
    const all = layers * perLayer;
    const channels = Int32Array.from({ length: Math.min(all, CHANNELS) }, (_, index) =>
      all <= CHANNELS ? index : ((index + ((index * GOLDEN) % 1)) * all) / CHANNELS,
    );
    this.#layers = channels.map((channel) => channel / perLayer);
    this.#heads = channels.map((channel) => (channel % perLayer) / headDim);
    this.#places = channels.map((channel) => channel % headDim);
  }

  /** [channels] of one token */
  sketch(read: ReadKey): Float32Array {
    const sketch = new Float32Array(this.#places.length);
    let key: Float32Array = new Float32Array(0);
    for (let i = 0; i < sketch.length; i++) {
      const [layer, head] = [this.#layers[i]!, this.#heads[i]!];
      // Channels come in the order of layers and heads: each key is read once.
      if (i === 0 || layer !== this.#layers[i - 1] || head !== this.#heads[i - 1]) key = read(layer, head);
      sketch[i] = key[this.#places[i]!]!;
    }
    return scaledToOne(sketch);
  }
}
