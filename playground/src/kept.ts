import type { Chat, KVCache, LoadedVisionModel } from '../../src/browser.js';
import { prepareInputs } from '../../src/browser.js';
import { imageLayout } from '../../src/explain/prompt/image-layout.js';
import type { ImageLayout } from '../../src/explain/prompt/patch-grid.js';
import type { ImageProcessorFacts } from '../../src/explain/prompt/seen-part.js';
import { imageTokensOf } from '../../src/models/families/registry.js';
import type { Image } from '../../src/models/images/read-image.js';
import type { Kept } from './messages.js';

/** An image of a conversation. */
export interface Shown {
  /** Places of its tokens in the conversation. */
  readonly places: readonly number[];
  readonly layout: ImageLayout | string;
}

/** The image that came with the last turn, whose tokens are those of an image that `known` of them have not been. */
export async function shownImage(
  loaded: LoadedVisionModel,
  image: Image,
  { tokens }: Chat,
  known: readonly Shown[],
): Promise<Shown> {
  const isImage = imageTokensOf(loaded.model);
  const before = known.reduce((count, { places }) => count + places.length, 0);
  const all = tokens.flatMap((token, place) => (isImage?.(BigInt(token)) ? [place] : []));
  const places = all.slice(before);
  // Prepared once more, since a conversation hands out no pixels: where patches lie is told by the sizes that the processor made.
  const inputs = await prepareInputs(loaded, { images: [image], prompt: 'Hi' });
  const facts = loaded.processor.image_processor as unknown as ImageProcessorFacts;
  return { places, layout: imageLayout(inputs, facts, image, places.length) };
}

/** What a cache holds of the images of its conversation, in each layer. */
export function keptOf(cache: KVCache, images: readonly Shown[]): Kept[] {
  const layers = cache.stats().layers.map((_, layer) => layer);
  const shares = layers.map((layer) => sharesHeld(cache, layer));
  return images.map(({ places, layout }) => {
    if (typeof layout === 'string') return { grid: undefined, reason: layout, shares: [] };
    const grid = layout.grids[0]!;
    return {
      grid,
      reason: undefined,
      shares: shares.map((held) => {
        const own = new Float32Array(grid.rows * grid.columns);
        places.forEach((place, index) => {
          const patch = layout.patches[index];
          if (patch?.grid === 0) own[patch.row * grid.columns + patch.column] = held.get(place) ?? 0;
        });
        return own;
      }),
    };
  });
}

/** Token of the conversation -> share of the heads of a layer that hold it. */
function sharesHeld(cache: KVCache, layer: number): Map<number, number> {
  const positions = cache.positions(layer, 0);
  const capacity = cache.past(layer, 0).capacity;
  const lists = positions.length / capacity;
  const shares = new Map<number, number>();
  for (let list = 0; list < lists; list++) {
    for (let row = 0; row < cache.held(layer); row++) {
      const place = positions[list * capacity + row]!;
      shares.set(place, (shares.get(place) ?? 0) + 1 / lists);
    }
  }
  return shares;
}
