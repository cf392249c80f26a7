import { Tensor } from '#platform/ort.js';
import { type DecoderLayer, contractNames as names } from '../../graph/decoder.js';

/** Says whether a pass writes in place, and whether rows have biases: those of a layer with a window always have. */
export function inPlaceFeeds(
  layers: readonly DecoderLayer[],
  inPlace: boolean,
  biased: boolean,
): Record<string, Tensor> {
  const asks = layers.some((layer) => layer.inPlace && layer.window === undefined);
  return {
    [names.inPlace]: new Tensor('bool', [inPlace], [1]),
    ...(asks ? { [names.biased]: new Tensor('int64', [biased ? 1n : 0n], [1]) } : {}),
  };
}

/** What a decoder that can write in place is fed where it does not: lengths that nobody reads. */
export function notInPlace(layers: readonly DecoderLayer[], batch: number): Record<string, Tensor> {
  if (!layers.some(({ inPlace }) => inPlace)) return {};
  const feeds = inPlaceFeeds(layers, false, false);
  for (const { index, inPlace } of layers) {
    if (!inPlace) continue;
    feeds[names.held(index)] = new Tensor('int32', new Int32Array(batch), [batch]);
    feeds[names.total(index)] = new Tensor('int64', [1n], [1]);
  }
  return feeds;
}
