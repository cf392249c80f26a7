import type { TurnView } from '../cache/policy.js';
import { rankByNovelty } from './novelty.js';
import { rankTokens } from './ranked-tokens.js';
import { once } from './ranking.js';

/** How text and image share what a head may keep, for methods that rank each in a way of its own. */

/** Of what an image would hold by the number of its tokens, what it holds however much text there is. */
const LEAST = 0.5;

/** How many of the entries allowed are an image's: its share, or with `textFirst` what text leaves over, at least half of that share. */
export function imageShare({ tokens, image, allowed }: TurnView, textFirst: boolean): number {
  const held = Math.min(tokens, allowed.entries);
  const ofImage = image!.reduce((sum, isImage) => sum + isImage, 0);
  const share = (held * ofImage) / tokens;
  if (!textFirst) return Math.round(share);
  return Math.min(ofImage, Math.max(Math.round(LEAST * share), held - (tokens - ofImage)));
}

/**
 * The tokens of images in the order in which they are kept, the same for all layers and heads: by attention received, averaged over those that hold them, and with
 * `novelty` times how unlike the token is to those chosen before it.
 * @param layers [layers] of [heads]; of a later turn, each may hold other tokens
 * @returns positions in the text, worked out when first asked for
 */
export function imageOrder(layers: readonly (readonly TurnView[])[], novelty: boolean): () => Int32Array {
  const received = new Map<number, { sum: number; lists: number; key: Float32Array | undefined }>();
  let most = 0;
  for (const { positions, image, importance, keys, tokens, allowed } of layers.flat()) {
    most = Math.max(most, Math.min(tokens, allowed.entries));
    if (!image) continue;
    for (let token = 0; token < tokens; token++) {
      if (image[token] === 0) continue;
      const known = received.get(positions[token]!);
      if (known) {
        known.sum += importance[token]!;
        known.lists++;
      } else {
        // Read now: a prompt that is kept whole is put in order when its rows have long moved.
        const key = novelty ? keys!(token) : undefined;
        received.set(positions[token]!, { sum: importance[token]!, lists: 1, key });
      }
    }
  }
  return once(() => {
    const positions = Int32Array.from(received.keys()).sort();
    const of = (position: number) => received.get(position)!;
    const scores = Float64Array.from(positions, (position) => of(position).sum / of(position).lists);
    const tiers = new Uint8Array(positions.length);
    const keys = Array.from(positions, (position) => of(position).key!);
    const count = Math.min(most, positions.length);
    const order = novelty ? rankByNovelty(scores, tiers, keys, count) : rankTokens(scores, tiers);
    return order.map((place) => positions[place]!);
  });
}

/**
 * One order of both: what is kept in any case, then text and image side by side in proportion, so that a layer that keeps fewer has less of
 * each; then the text that did not fit, then the image's.
 * @param ranked [tokens] all candidates in the order of text
 * @param images positions in the order of images, those that this head does not hold among them
 * @param counts.first how many candidates are kept in any case, and come first in `ranked`
 * @param counts.image how many of the entries allowed are the image's
 */
export function textAndImage(
  { tokens, positions, image, allowed }: TurnView,
  ranked: Int32Array,
  images: Int32Array,
  counts: { readonly first: number; readonly image: number },
): Int32Array {
  const held = Math.min(tokens, allowed.entries);
  const first = ranked.subarray(0, Math.min(counts.first, held));
  const taken = new Set(first);
  const candidates = new Map(Array.from(positions, (position, candidate) => [position, candidate]));
  const text = ranked.filter((candidate) => image![candidate] === 0 && !taken.has(candidate));
  const pictures = Array.from(images, (position) => candidates.get(position) ?? -1).filter(
    (candidate) => candidate >= 0 && !taken.has(candidate),
  );
  const left = held - first.length;
  const ofImage = Math.max(left - text.length, Math.min(counts.image, left, pictures.length));
  const ofText = left - ofImage;
  const together = [...place(text.subarray(0, ofText)), ...place(pictures.slice(0, ofImage))];
  together.sort((a, b) => a.at - b.at);
  return Int32Array.from([
    ...first,
    ...together.map(({ candidate }) => candidate),
    ...text.subarray(ofText),
    ...pictures.slice(ofImage),
  ]);
}

/** Each candidate with how far down its own list it stands, between 0 and 1. */
function place(candidates: ArrayLike<number>): { candidate: number; at: number }[] {
  return Array.from(candidates, (candidate, index) => ({ candidate, at: (index + 0.5) / candidates.length }));
}
