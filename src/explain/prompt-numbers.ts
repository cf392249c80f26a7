import type { PlacedGrid } from './placed-grids.js';
import type { ExplainedLayer, PromptToken } from './prompt/explain-prompt.js';
import { type Elsewhere, type PatchFate, patchFates } from './prompt/merge-groups.js';

/** [tokens] attention received, as a multiple of what a token of this prompt receives on average. */
export function received({ attention }: ExplainedLayer): number[] {
  const mean = attention.reduce((sum, value) => sum + value, 0) / attention.length;
  return attention.map((value) => (mean > 0 ? value / mean : 0));
}

/** [tokens] the mean over layers of {@link received}. */
export function meanReceived(layers: readonly ExplainedLayer[]): number[] {
  const sums = layers.map(received).reduce((total, layer) => total.map((sum, token) => sum + layer[token]!));
  return sums.map((sum) => sum / layers.length);
}

/** [tokens] in how many layers each token stayed. */
export function timesStayed(layers: readonly ExplainedLayer[]): number[] {
  return layers[0]!.anchor.map((_, token) => layers.filter(({ anchor }) => anchor[token] === token).length);
}

/** Whose attention it is, for a policy that looks at that of the last tokens alone. */
export function fromWhom(queries: number, tokens: readonly PromptToken[]): string {
  return queries < tokens.length ? ` from the last ${queries} tokens` : '';
}

/** The fate of each patch of a grid in one layer, in reading order. */
export function fatesIn(
  { anchor }: ExplainedLayer,
  tokens: readonly PromptToken[],
  { grid, places }: PlacedGrid,
): PatchFate[] {
  const patchAt = new Map(places.map((place, patch) => [place, patch]));
  const anchors = places.map((place) => {
    const holder = anchor[place]!;
    return holder === null ? null : (patchAt.get(holder) ?? elsewhere(tokens[holder]!));
  });
  return patchFates(grid, anchors);
}

function elsewhere({ patch }: PromptToken): Elsewhere {
  if (patch === undefined) return 'text';
  return patch === null ? 'separator' : 'other-grid';
}
