import { Tensor } from '#platform/ort.js';
import { type DecoderLayer, contractNames as names } from '../../graph/decoder.js';

/** What a pass that writes in place finds: as many rows in each head, or, packed, other numbers in each; and whether rows have biases, which those of a layer with a window always have. */
export interface InPlacePass {
  readonly packed: boolean;
  readonly biased: boolean;
}

/** Says whether a pass writes in place, and of which kind it is. @param pass undefined where it does not */
export function inPlaceFeeds(
  layers: readonly DecoderLayer[],
  pass: InPlacePass | undefined,
): Record<string, Tensor> {
  const asks = layers.some((layer) => layer.inPlace && layer.window === undefined);
  const flag = (value = false) => new Tensor('int64', [value ? 1n : 0n], [1]);
  return {
    [names.inPlace]: new Tensor('bool', [pass !== undefined], [1]),
    ...(layers.some(({ packs }) => packs) ? { [names.packed]: flag(pass?.packed) } : {}),
    ...(asks ? { [names.biased]: flag(pass?.biased) } : {}),
  };
}

/** What a decoder that can write in place is fed where it does not: lengths that nobody reads. */
export function notInPlace(layers: readonly DecoderLayer[], batch: number): Record<string, Tensor> {
  if (!layers.some(({ inPlace }) => inPlace)) return {};
  const feeds = inPlaceFeeds(layers, undefined);
  for (const { index, inPlace } of layers) {
    if (!inPlace) continue;
    feeds[names.held(index)] = new Tensor('int32', new Int32Array(batch), [batch]);
    feeds[names.total(index)] = new Tensor('int64', [1n], [1]);
  }
  return feeds;
}
