import type { Budget } from '../cache/budget.js';
import { KVCache } from '../cache/kv-cache.js';
import type { CachePolicy, PromptEdit, PromptView } from '../cache/policy.js';
import { ElasticCacheError } from '../errors.js';
import { imageTokensOf } from '../models/families/registry.js';
import type { LoadedModel } from '../models/load.js';
import { type Inputs, prepareInputs, type Question } from '../models/prepare-inputs.js';
import { type ImageProcessorFacts, type PatchGrid, patchGrid } from './patch-grid.js';
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
  /** Which patch of the grid it is, for a token of the image. */
  readonly patch?: readonly [row: number, column: number];
}

/** What one layer made of the prompt. */
export interface ExplainedLayer {
  readonly layer: number;
  /** Entries held, of the prompt's tokens. */
  readonly held: number;
  /** [tokens] attention received: summed over the queries, averaged over the heads. */
  readonly attention: readonly number[];
  /** [tokens] the token whose entry holds it: itself where it stayed, an anchor where it was merged, null where it was dropped. */
  readonly anchor: readonly (number | null)[];
}

/** What a policy made of a prompt; plain JSON. */
export interface Explanation {
  /** Whose attention counts: the last so many tokens of the prompt, all of them for most policies. */
  readonly queries: number;
  readonly tokens: readonly PromptToken[];
  /** Where the image tokens lie on the photo, or null. */
  readonly grid: PatchGrid | null;
  /** Why there is no grid. */
  readonly noGrid?: string;
  readonly layers: readonly ExplainedLayer[];
}

/**
 * Reads a prompt with one image through a policy and tells, for each layer, which tokens stayed, where the others went and
 * how much attention each received. No answer is generated.
 * @throws ElasticCacheError 'invalid-option' when the model has no such layer or the question not one image
 */
export async function explainPrompt(
  loaded: LoadedModel,
  question: Question,
  { policy, budget, layer }: ExplainOptions,
): Promise<Explanation> {
  if (question.images.length !== 1) {
    throw new ElasticCacheError(
      'invalid-option',
      `explain looks at one image and ${question.images.length} were given; give one.`,
    );
  }
  const inputs = await prepareInputs(loaded, question);
  const { grid, places } = placeImage(loaded, question, inputs);
  let layers: ExplainedLayer[] = [];
  const watched = watchPrompt(policy, (prompts, edits) => {
    layers = prompts.map((prompt, index) => explainLayer(index, prompt, edits[index]!));
  });
  const cache = new KVCache({
    policy: { ...watched, begin: (n) => watched.begin(checked(n, layer)) },
    budget,
  });
  await loaded.model.generate({ ...inputs, past_key_values: cache, max_new_tokens: 1, do_sample: false });
  const tokens = tokensOf(loaded, inputs, typeof grid === 'string' ? undefined : { grid, places });
  const queries = Math.min(policy.window ?? tokens.length, tokens.length);
  const read = { queries, tokens, layers };
  return typeof grid === 'string' ? { ...read, grid: null, noGrid: grid } : { ...read, grid };
}

/** The grid, or why there is none, and the places of the image tokens in the prompt. */
function placeImage(
  loaded: LoadedModel,
  { images }: Question,
  inputs: Inputs,
): { grid: PatchGrid | string; places: number[] } {
  const isImage = imageTokensOf(loaded.model);
  const places = idsOf(inputs).flatMap((id, place) => (isImage?.(id) ? [place] : []));
  const processor = loaded.processor.image_processor as unknown as ImageProcessorFacts;
  return { grid: patchGrid(inputs, processor, images[0]!, places.length), places };
}

function tokensOf(
  { tokenizer }: LoadedModel,
  inputs: Inputs,
  image: { grid: PatchGrid; places: number[] } | undefined,
): PromptToken[] {
  const tokens: PromptToken[] = idsOf(inputs).map((id) => ({
    id: Number(id),
    text: tokenizer.decode([id], { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
  }));
  image?.places.forEach((place, index) => {
    const { columns } = image.grid;
    tokens[place] = { ...tokens[place]!, patch: [Math.floor(index / columns), index % columns] };
  });
  return tokens;
}

function explainLayer(
  layer: number,
  { tokens, importance }: PromptView,
  { keep, from, into }: PromptEdit,
): ExplainedLayer {
  const anchor: (number | null)[] = new Array(tokens).fill(null);
  for (const token of keep) anchor[token] = token;
  from?.forEach((token, merge) => {
    anchor[token] = into![merge]!;
  });
  return { layer, held: keep.length, attention: Array.from(importance), anchor };
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
