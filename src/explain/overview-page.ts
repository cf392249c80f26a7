import { text } from '../svg.js';
import { type Photo, panelSize } from './drawing/canvas.js';
import { COLUMN, threeColumns } from './drawing/columns.js';
import { countScale, factorScale, legend, type Scale } from './drawing/heat.js';
import { edgeKeys, keys, mergeKeys } from './drawing/keys.js';
import { type Block, heading, INNER, MARGIN, SOFT, stack } from './drawing/layout.js';
import { heatPanel, mergePanel, plainPanel } from './drawing/panels.js';
import { type PlacedGrid, sections } from './placed-grids.js';
import type { Explanation } from './prompt/explain-prompt.js';
import { fatesIn, fromWhom, meanReceived, timesStayed } from './prompt-numbers.js';
import { textOfAllLayers } from './text-of-layers.js';

/** All layers: the photo, how often each patch stayed and what it received, each layer small, and the text. */
export function overviewPage(
  y: number,
  photo: Photo,
  explanation: Explanation,
  placed: readonly PlacedGrid[],
): Block {
  const { layers } = explanation;
  const stayed = timesStayed(layers);
  const shares = meanReceived(layers);
  const factors = factorScale(placed.flatMap(({ places }) => places.map((place) => shares[place]!)));
  return stack(y, 30, [
    ...sections(placed, (one) => [
      (at) => summary(at, photo, explanation, one, stayed, shares, factors),
      (at) => layerByLayer(at, photo, explanation, one),
    ]),
    (at) => textOfAllLayers(at, explanation),
  ]);
}

function summary(
  y: number,
  photo: Photo,
  { tokens, layers, queries }: Explanation,
  { grid, places }: PlacedGrid,
  stayedTokens: readonly number[],
  receivedTokens: readonly number[],
  factors: Scale,
): Block {
  const stayed = places.map((place) => stayedTokens[place]!);
  const shares = places.map((place) => receivedTokens[place]!);
  const counts = countScale(layers.length);
  const never = stayed.filter((count) => count === 0).length;
  const always = stayed.filter((count) => count === layers.length).length;
  return threeColumns(y, photo, grid, [
    {
      title: 'The image',
      line: `${grid.rows} x ${grid.columns} patches, each a token`,
      view: 'whole',
      draw: plainPanel,
      legend: (x, top) => keys(x, top, edgeKeys(grid, photo), COLUMN),
    },
    {
      title: 'In how many layers each patch stayed',
      line: `${always} in all, ${never} in none`,
      view: 'seen',
      draw: (canvas, place) => heatPanel(canvas, place, stayed, counts),
      legend: (x, top) => legend(x, top, COLUMN, counts),
    },
    {
      title: `Attention received${fromWhom(queries, tokens)}`,
      line: 'mean of the layers; 1× is the average token',
      view: 'seen',
      draw: (canvas, place) => heatPanel(canvas, place, shares, factors),
      legend: (x, top) => legend(x, top, COLUMN, factors),
    },
  ]);
}

function layerByLayer(y: number, photo: Photo, { tokens, layers }: Explanation, placed: PlacedGrid): Block {
  const { grid } = placed;
  const canvas = { photo, grid, view: 'seen' } as const;
  const columns = layers.length <= 6 ? Math.max(4, layers.length) : 8;
  const [gap, label] = [16, 20];
  const [width, height] = panelSize(canvas, (INNER - (columns - 1) * gap) / columns, 400);
  const fates = layers.map((layer) => fatesIn(layer, tokens, placed));
  const key = keys(MARGIN, y + 42, mergeKeys(fates.flat(), grid), INNER / 3, INNER);
  const top = y + 42 + key.height + 12;
  const step = height + label + gap;
  const drawn = layers.map(({ layer, held }, index) => {
    const x = MARGIN + (index % columns) * (width + gap);
    const at = top + label + Math.floor(index / columns) * step;
    const name = text(x, at - 7, `layer ${layer}: ${held} held`, { 'font-size': 12, fill: SOFT });
    return name + mergePanel(canvas, { x, y: at, width, height }, fates[index]!);
  });
  const title = 'Layer by layer: what stayed, and where the others went';
  const line = 'held: entries of this layer, image and text together';
  return {
    markup: [heading(MARGIN, y, title, line), key.markup, ...drawn].join('\n'),
    height: top - y + Math.ceil(layers.length / columns) * step - gap,
  };
}
