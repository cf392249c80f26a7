import type { CacheShape, LayerRows } from './shape.js';

/** Numbers in a sketch at the most: enough for the cosine of two keys, little beside the keys of all layers. */
const CHANNELS = 1024;

/** Where to look next, as a share of what a number of the sketch stands for: never the same channel of every head. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * What the keys of each new token are like, over all layers and heads: the keys themselves, one after the other, or 1,024 of their channels spread
 * evenly, scaled to length 1, so that the product of two sketches is (about) the cosine of their keys.
 * @param layers [layers] keys [batch, kvHeads, tokens, headDim], after rotation
 * @returns [tokens] of [channels], of one row of the batch
 */
export function sketchKeys(
  layers: readonly Pick<LayerRows, 'keys'>[],
  row: number,
  tokens: number,
  { kvHeads, headDim }: CacheShape,
): Float32Array[] {
  const perLayer = kvHeads * headDim;
  const all = layers.length * perLayer;
  const channels = Math.min(all, CHANNELS);
  const places = Array.from({ length: channels }, (_, index) => {
    const channel = all <= CHANNELS ? index : Math.floor(((index + ((index * GOLDEN) % 1)) * all) / channels);
    const inLayer = channel % perLayer;
    const head = row * kvHeads + Math.floor(inLayer / headDim);
    return {
      keys: layers[Math.floor(channel / perLayer)]!.keys,
      start: head * tokens * headDim + (inLayer % headDim),
    };
  });
  return Array.from({ length: tokens }, (_, token) => {
    const sketch = new Float32Array(channels);
    places.forEach(({ keys, start }, index) => {
      sketch[index] = keys[start + token * headDim]!;
    });
    return unit(sketch);
  });
}

/** Cosine of two keys by their sketches, from -1 to 1. */
export function similarity(a: Float32Array, b: Float32Array): number {
  // Four sums side by side: no addition has to wait for the one before it.
  let [first, second, third, fourth] = [0, 0, 0, 0];
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

function unit(sketch: Float32Array): Float32Array {
  const length = Math.sqrt(similarity(sketch, sketch));
  return length > 0 ? sketch.map((value) => value / length) : sketch;
}
