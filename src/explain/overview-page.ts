import type { ExplainedLayer, PromptToken } from './explain-prompt.js';
import { countScale, factorScale, legend } from './heat.js';
import { mergeKeys } from './layer-page.js';
import { type Block, heading, INNER, keys, MARGIN, promptText, SOFT, stack } from './layout.js';
import { heatPanel, mergePanel, type Photo, panelSize, plainPanel } from './panels.js';
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
  const of = (numbers: readonly number[]) => places.map((place) => numbers[place]!);
  return stack(y, 30, [
    (at) => summary(at, photo, grid, of(stayed), of(shares), layers.length),
    (at) => tiles(at, photo, tokens, grid, layers),
    (at) =>
      promptText(
        at,
        tokens,
        layers.length,
        stayed,
        shares,
        (token) => `stayed in ${stayed[token]} of ${layers.length} layers`,
      ),
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
  const [width, height] = panelSize(photo, grid, COLUMN, 1.25 * COLUMN);
  const place = (column: number) => ({ x: MARGIN + column * (COLUMN + GAP), y: y + 46, width, height });
  const [first, second, third] = [place(0), place(1), place(2)];
  const below = y + 46 + height + 14;
  const counts = countScale(layers);
  const factors = factorScale(shares);
  const never = stayed.filter((count) => count === 0).length;
  const always = stayed.filter((count) => count === layers).length;
  const markup = [
    heading(first.x, y, 'The image', `${grid.rows} x ${grid.columns} patches, each a token`),
    plainPanel(photo, grid, first),
    heading(second.x, y, 'In how many layers each patch stayed', `${always} in all, ${never} in none`),
    heatPanel(photo, grid, second, stayed, counts),
    legend(second.x, below, width, counts),
    heading(
      third.x,
      y,
      'Attention received, mean of the layers',
      'as a multiple of what the average token received',
    ),
    heatPanel(photo, grid, third, shares, factors),
    legend(third.x, below, width, factors),
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
  const columns = layers.length <= 6 ? Math.max(4, layers.length) : 8;
  const gap = 16;
  const [width, height] = panelSize(photo, grid, (INNER - (columns - 1) * gap) / columns, 400);
  const fates = layers.map((layer) => fatesIn(layer, tokens, grid));
  const key = keys(MARGIN, y + 42, mergeKeys(fates.flat()));
  const top = y + 42 + key.height + 12;
  const drawn = layers.map(({ layer, held }, index) => {
    const place = {
      x: MARGIN + (index % columns) * (width + gap),
      y: top + 20 + Math.floor(index / columns) * (height + 20 + gap),
      width,
      height,
    };
    const label = `layer ${layer}: ${held} held`;
    return (
      text(place.x, place.y - 7, label, { 'font-size': 12, fill: SOFT }) +
      mergePanel(photo, grid, place, fates[index]!)
    );
  });
  const rows = Math.ceil(layers.length / columns);
  return {
    markup: [
      heading(
        MARGIN,
        y,
        'Layer by layer: what stayed, and where the others went',
        'held: entries of this layer, image and text together',
      ),
      key.markup,
      ...drawn,
    ].join('\n'),
    height: top - y + rows * (height + 20 + gap) - gap,
  };
}
