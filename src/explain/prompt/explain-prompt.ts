import type { Budget } from '../../cache/budget.js';
import type { CachePolicy, TurnEdit, TurnView } from '../../cache/policy.js';
import { ElasticCacheError } from '../../errors.js';
import { KVCache } from '../../memory/kv-cache.js';
import { type Inputs, prepareInputs, readingImages } from '../../models/conversation/prepare-inputs.js';
import { imageTokensOf } from '../../models/families/registry.js';
import type { Image } from '../../models/images/read-image.js';
import type { LoadedModel, LoadedVisionModel } from '../../models/loaded-model.js';
import { imageLayout } from './image-layout.js';
import type { ImageLayout, Patch, PatchGrid } from './patch-grid.js';
import type { ImageProcessorFacts } from './seen-part.js';
import { watchPrompt } from './watch-prompt.js';

export interface ExplainOptions {
  readonly policy: CachePolicy;
  readonly budget: Budget;
  /** A layer that will be looked at, from 0; checked before the prompt is read. */
  readonly layer?: number | undefined;
}

/** A token of the prompt. */
export interface PromptToken {
  readonly id: number;
  readonly text: string;
  /** Which patch it is, for a token of the image; null for one that lies on no grid. */
  readonly patch?: Patch | null;
}

/** What one layer made of the prompt. */
export interface ExplainedLayer {
  readonly layer: number;
  /** Entries held, of the prompt's tokens; on average over heads that choose for themselves. */
  readonly held: number;
  /** [tokens] attention received: summed over the queries, averaged over the heads. */
  readonly attention: readonly number[];
  /** [tokens] the token whose entry holds it: itself where it stayed, in one head at least, an anchor where it was merged, null where it was dropped. */
  readonly anchor: readonly (number | null)[];
}

/** What a policy made of a prompt; plain JSON. */
export interface Explanation {
  /** Whose attention counts: the last so many tokens of the prompt, all of them for most policies. */
  readonly queries: number;
  readonly tokens: readonly PromptToken[];
  /** Where the image tokens lie on the photo: on one grid, or on one of tiles and one of the whole photo, or none. */
  readonly grids: readonly PatchGrid[];
  /** Why there is no grid for the image. */
  readonly noGrid?: string;
  readonly layers: readonly ExplainedLayer[];
}

/**
 * Reads a prompt, with an image or without, through a policy and tells, for each layer, which tokens stayed, where the others went and
 * how much attention each received. No answer is generated.
 * @throws ElasticCacheError 'invalid-option' when the model has no such layer or the question several images
 */
export async function explainPrompt(
  loaded: LoadedModel,
  question: { readonly images: readonly Image[]; readonly prompt: string },
  { policy, budget, layer }: ExplainOptions,
): Promise<Explanation> {
  const [image, other] = question.images;
  if (other) {
    throw new ElasticCacheError(
      'invalid-option',
      `explain looks at one image and ${question.images.length} were given; give one, or none for the text alone.`,
    );
  }
  const inputs = await prepareInputs(loaded, question);
  const places = imagePlaces(loaded, inputs);
  const layout = image
    ? layoutOf(readingImages(loaded), inputs, image, places.length)
    : { grids: [], patches: [] };
  let layers: ExplainedLayer[] = [];
  const watched = watchPrompt(policy, (views, edits) => {
    layers = views.map((heads, index) => explainLayer(index, heads, edits[index]!));
  });
  const cache = new KVCache({
    policy: { ...watched, begin: (layers, saved) => watched.begin(checked(layers, layer), saved) },
    budget,
  });
  await loaded.model.generate({ ...inputs, past_key_values: cache, max_new_tokens: 1, do_sample: false });
  const { grids, patches }: ImageLayout =
    typeof layout === 'string' ? { grids: [], patches: places.map(() => null) } : layout;
  const tokens = tokensOf(loaded, inputs);
  places.forEach((place, index) => {
    tokens[place] = { ...tokens[place]!, patch: patches[index]! };
  });
  const queries = Math.min(policy.window ?? tokens.length, tokens.length);
  return { queries, tokens, grids, ...(typeof layout === 'string' ? { noGrid: layout } : {}), layers };
}

/** Where the image tokens, `count` of them, lie on the photo, or why that is not known. */
function layoutOf({ processor }: LoadedVisionModel, inputs: Inputs, image: Image, count: number) {
  return imageLayout(inputs, processor.image_processor as unknown as ImageProcessorFacts, image, count);
}

/** The places of the image tokens in the prompt. */
function imagePlaces({ model }: LoadedModel, inputs: Inputs): number[] {
  const isImage = imageTokensOf(model);
  return idsOf(inputs).flatMap((id, place) => (isImage?.(id) ? [place] : []));
}

function tokensOf({ tokenizer }: LoadedModel, inputs: Inputs): PromptToken[] {
  return idsOf(inputs).map((id) => ({
    id: Number(id),
    text: tokenizer.decode([id], { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
  }));
}

/** @param views [heads] that choose for themselves, or one of all @param edits [heads] */
function explainLayer(layer: number, views: readonly TurnView[], edits: readonly TurnEdit[]): ExplainedLayer {
  const anchor: (number | null)[] = new Array(views[0]!.tokens).fill(null);
  for (const { from, into } of edits) {
    from?.forEach((token, merge) => {
      anchor[token] ??= into![merge]!;
    });
  }
  for (const token of edits.flatMap(({ keep }) => [...keep])) anchor[token] = token;
  const mean = (numbers: readonly number[]) =>
    numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  return {
    layer,
    held: Math.round(mean(edits.map(({ keep }) => keep.length))),
    attention: anchor.map((_, token) => mean(views.map(({ importance }) => importance[token]!))),
    anchor,
  };
}

/** @throws ElasticCacheError 'invalid-option' */
function checked(layers: number, layer: number | undefined): number {
  if (layer === undefined || layer < layers) return layers;
  throw new ElasticCacheError(
    'invalid-option',
    `layer ${layer} is not in this model, which has ${layers}; choose one from 0 to ${layers - 1}.`,
  );
}

function idsOf({ input_ids }: Inputs): bigint[] {
  return Array.from(input_ids.data as BigInt64Array);
}
