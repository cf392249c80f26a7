import type { Photo } from './drawing/canvas.js';
import { COLUMN, threeColumns } from './drawing/columns.js';
import { factorScale, legend, type Scale, times } from './drawing/heat.js';
import { keptKeys, keys, mergeKeys } from './drawing/keys.js';
import { type Block, stack } from './drawing/layout.js';
import { heatPanel, keptPanel, mergePanel } from './drawing/panels.js';
import { type PlacedGrid, sections } from './placed-grids.js';
import type { ExplainedLayer, Explanation } from './prompt/explain-prompt.js';
import type { PatchFate } from './prompt/merge-groups.js';
import { fatesIn, fromWhom, received } from './prompt-numbers.js';
import { textOfLayer } from './text-of-layers.js';

/** One layer in three panels: what stayed, where the rest went, and the attention that decided it; below them the text. */
export function layerPage(
  y: number,
  photo: Photo,
  explanation: Explanation,
  placed: readonly PlacedGrid[],
  layer: ExplainedLayer,
): Block {
  const shares = received(layer);
  const scale = factorScale(placed.flatMap(({ places }) => places.map((place) => shares[place]!)));
  return stack(y, 30, [
    ...sections(placed, (one) => [(at) => panels(at, photo, explanation, one, layer, shares, scale)]),
    (at) => textOfLayer(at, explanation, layer),
  ]);
}

function panels(
  y: number,
  photo: Photo,
  { tokens, queries }: Explanation,
  placed: PlacedGrid,
  layer: ExplainedLayer,
  shares: readonly number[],
  scale: Scale,
): Block {
  const { grid, places } = placed;
  const fates = fatesIn(layer, tokens, placed);
  const ofPatches = places.map((place) => shares[place]!);
  return threeColumns(y, photo, grid, [
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
      legend: (x, top) => keys(x, top, mergeKeys(fates, grid), COLUMN),
    },
    {
      title: `Attention received${fromWhom(queries, tokens)}`,
      line: `at most ${times(Math.max(...ofPatches))} what the average token received`,
      view: 'seen',
      draw: (canvas, place) => heatPanel(canvas, place, ofPatches, scale),
      legend: (x, top) => legend(x, top, COLUMN, scale),
    },
  ]);
}

/** A line as long as a column is wide: where there are more places to go than two, the key tells them apart. */
function destinations(fates: readonly PatchFate[]): string {
  const count = (...chosen: PatchFate['fate'][]) => fates.filter(({ fate }) => chosen.includes(fate)).length;
  const far = count('other-grid', 'separator');
  const parts = [
    [count('patch'), far > 0 ? 'into a patch here' : 'into a patch'],
    [far + count('text'), far > 0 ? 'elsewhere' : 'into a token of the text'],
    [count('dropped'), 'dropped'],
  ] as const;
  const words = parts.filter(([patches]) => patches > 0).map(([patches, where]) => `${patches} ${where}`);
  return words.join(', ') || 'all patches stayed';
}
