import { type Photo, panelSize } from './canvas.js';
import type { ExplainedLayer, PromptToken } from './explain-prompt.js';
import { countScale, factorScale, legend } from './heat.js';
import { mergeKeys } from './layer-page.js';
import { type Block, heading, INNER, keys, MARGIN, promptText, SOFT, stack } from './layout.js';
import { heatPanel, mergePanel, plainPanel } from './panels.js';
import type { PatchGrid } from './patch-grid.js';
import { fatesIn, meanReceived, patchPlaces, timesStayed } from './prompt-numbers.js';
import { text } from './svg.js';

const GAP = 24;
const COLUMN = (INNER - 2 * GAP) / 3;

/** All layers: the photo, how often each patch stayed and what it received, each layer small, and the text. */
export function overviewPage(
  y: number,
  photo: Photo,
  tokens: readonly PromptToken[],
  grid: PatchGrid,
  layers: readonly ExplainedLayer[],
): Block {
  const stayed = timesStayed(layers);
  const shares = meanReceived(layers);
  const places = patchPlaces(tokens);
  const ofPatches = (numbers: readonly number[]) => places.map((place) => numbers[place]!);
  const often = (token: number) => `stayed in ${stayed[token]} of ${layers.length} layers`;
  return stack(y, 30, [
    (at) => summary(at, photo, grid, ofPatches(stayed), ofPatches(shares), layers.length),
    (at) => tiles(at, photo, tokens, grid, layers),
    (at) => promptText(at, tokens, layers.length, stayed, shares, often),
  ]);
}

function summary(
  y: number,
  photo: Photo,
  grid: PatchGrid,
  stayed: readonly number[],
  shares: readonly number[],
  layers: number,
): Block {
  const whole = { photo, grid, view: 'whole' } as const;
  const seen = { photo, grid, view: 'seen' } as const;
  const tallest = 1.25 * COLUMN;
  const [wholeSize, seenSize] = [whole, seen].map((canvas) => panelSize(canvas, COLUMN, tallest)) as [
    [number, number],
    [number, number],
  ];
  const height = Math.max(wholeSize[1], seenSize[1]);
  const place = (column: number, [width, height]: [number, number]) => ({
    x: MARGIN + column * (COLUMN + GAP),
    y: y + 46,
    width,
    height,
  });
  const [first, second, third] = [place(0, wholeSize), place(1, seenSize), place(2, seenSize)];
  const below = y + 46 + height + 14;
  const counts = countScale(layers);
  const factors = factorScale(shares);
  const never = stayed.filter((count) => count === 0).length;
  const always = stayed.filter((count) => count === layers).length;
  const markup = [
    heading(first.x, y, 'The image', `${grid.rows} x ${grid.columns} patches, each a token`),
    plainPanel(whole, first),
    heading(second.x, y, 'In how many layers each patch stayed', `${always} in all, ${never} in none`),
    heatPanel(seen, second, stayed, counts),
    legend(second.x, below, COLUMN, counts),
    heading(
      third.x,
      y,
      'Attention received, mean of the layers',
      'as a multiple of what the average token received',
    ),
    heatPanel(seen, third, shares, factors),
    legend(third.x, below, COLUMN, factors),
  ].join('\n');
  return { markup, height: 46 + height + 14 + 28 };
}

function tiles(
  y: number,
  photo: Photo,
  tokens: readonly PromptToken[],
  grid: PatchGrid,
  layers: readonly ExplainedLayer[],
): Block {
  const seen = { photo, grid, view: 'seen' } as const;
  const columns = layers.length <= 6 ? Math.max(4, layers.length) : 8;
  const gap = 16;
  const [width, height] = panelSize(seen, (INNER - (columns - 1) * gap) / columns, 400);
  const fates = layers.map((layer) => fatesIn(layer, tokens, grid));
  const key = keys(MARGIN, y + 42, mergeKeys(fates.flat()), (INNER - 2 * GAP) / 3 + GAP, INNER + GAP);
  const top = y + 42 + key.height + 12;
  const drawn = layers.map(({ layer, held }, index) => {
    const x = MARGIN + (index % columns) * (width + gap);
    const at = top + 20 + Math.floor(index / columns) * (height + 20 + gap);
    const label = text(x, at - 7, `layer ${layer}: ${held} held`, { 'font-size': 12, fill: SOFT });
    return label + mergePanel(seen, { x, y: at, width, height }, fates[index]!);
  });
  const rows = Math.ceil(layers.length / columns);
  const title = 'Layer by layer: what stayed, and where the others went';
  const line = 'held: entries of this layer, image and text together';
  const markup = [heading(MARGIN, y, title, line), key.markup, ...drawn].join('\n');
  return { markup, height: top - y + rows * (height + 20 + gap) - gap };
}
