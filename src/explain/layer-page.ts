import type { Photo } from './canvas.js';
import { COLUMN, threeColumns } from './columns.js';
import type { ExplainedLayer, Explanation, PromptToken } from './explain-prompt.js';
import { factorScale, legend, times } from './heat.js';
import { keptKeys, keys, mergeKeys } from './keys.js';
import { type Block, stack } from './layout.js';
import type { PatchFate } from './merge-groups.js';
import { heatPanel, keptPanel, mergePanel } from './panels.js';
import type { PatchGrid } from './patch-grid.js';
import { fatesIn, fromWhom, patchPlaces, received } from './prompt-numbers.js';
import { promptText } from './prompt-text.js';

/** One layer in three panels: what stayed, where the rest went, and the attention that decided it; below them the text. */
export function layerPage(
  y: number,
  photo: Photo,
  { tokens, queries }: Explanation,
  grid: PatchGrid,
  layer: ExplainedLayer,
): Block {
  const fates = fatesIn(layer, tokens, grid);
  const shares = received(layer);
  const stayed = layer.anchor.map((anchor, token) => (anchor === token ? 1 : 0));
  const ofPatches = patchPlaces(tokens).map((place) => shares[place]!);
  const scale = factorScale(ofPatches);
  return stack(y, 30, [
    (at) =>
      threeColumns(at, photo, grid, [
        {
          title: 'What stayed',
          line: `${fates.filter(({ fate }) => fate === 'anchor').length} of ${fates.length} patches`,
          view: 'whole',
          draw: (canvas, place) => keptPanel(canvas, place, fates),
          legend: (x, top) => keys(x, top, keptKeys(fates, grid, photo), COLUMN),
        },
        {
          title: 'Where the others went',
          line: destinations(fates),
          view: 'seen',
          draw: (canvas, place) => mergePanel(canvas, place, fates),
          legend: (x, top) => keys(x, top, mergeKeys(fates), COLUMN),
        },
        {
          title: `Attention received${fromWhom(queries, tokens)}`,
          line: `at most ${times(Math.max(...ofPatches))} what the average token received`,
          view: 'seen',
          draw: (canvas, place) => heatPanel(canvas, place, ofPatches, scale),
          legend: (x, top) => legend(x, top, COLUMN, scale),
        },
      ]),
    (at) => promptText(at, tokens, 1, stayed, shares, (token) => whereTo(layer, tokens, token)),
  ]);
}

function destinations(fates: readonly PatchFate[]): string {
  const count = (fate: PatchFate['fate']) => fates.filter((patch) => patch.fate === fate).length;
  const parts = [
    [count('patch'), 'into a patch'],
    [count('text'), 'into a token of the text'],
    [count('dropped'), 'dropped'],
  ] as const;
  const words = parts.filter(([patches]) => patches > 0).map(([patches, where]) => `${patches} ${where}`);
  return words.join(', ') || 'all patches stayed';
}

function whereTo({ anchor }: ExplainedLayer, tokens: readonly PromptToken[], token: number): string {
  const holder = anchor[token]!;
  if (holder === token) return 'stayed';
  if (holder === null) return 'dropped';
  const { patch, text } = tokens[holder]!;
  return `merged into token ${holder}, ${patch ? `the patch in row ${patch[0]}, column ${patch[1]}` : `"${text}"`}`;
}
