import type { ExplainedLayer, PromptToken } from './explain-prompt.js';
import { factorScale, legend } from './heat.js';
import { type Block, heading, INNER, keys, type LegendItem, MARGIN, promptText, stack } from './layout.js';
import { GROUP_COLORS, type PatchFate } from './merge-groups.js';
import { heatPanel, keptPanel, mergePanel, type Photo, panelSize } from './panels.js';
import type { PatchGrid } from './patch-grid.js';
import { fatesIn, patchPlaces, received } from './prompt-numbers.js';

const GAP = 24;
const COLUMN = (INNER - 2 * GAP) / 3;

/** One layer in three panels: what stayed, where the rest went, and the attention that decided it; below them the text. */
export function layerPage(
  y: number,
  photo: Photo,
  tokens: readonly PromptToken[],
  grid: PatchGrid,
  layer: ExplainedLayer,
): Block {
  const fates = fatesIn(layer, tokens, grid);
  const shares = received(layer);
  return stack(y, 30, [
    (at) =>
      panels(
        at,
        photo,
        grid,
        fates,
        patchPlaces(tokens).map((place) => shares[place]!),
      ),
    (at) =>
      promptText(
        at,
        tokens,
        1,
        layer.anchor.map((anchor, token) => (anchor === token ? 1 : 0)),
        shares,
        (token) => whereTo(layer, tokens, token),
      ),
  ]);
}

function panels(
  y: number,
  photo: Photo,
  grid: PatchGrid,
  fates: readonly PatchFate[],
  shares: readonly number[],
): Block {
  const [width, height] = panelSize(photo, grid, COLUMN, 1.25 * COLUMN);
  const place = (column: number) => ({ x: MARGIN + column * (COLUMN + GAP), y: y + 46, width, height });
  const [first, second, third] = [place(0), place(1), place(2)];
  const below = y + 46 + height + 14;
  const count = (fate: PatchFate['fate']) => fates.filter((patch) => patch.fate === fate).length;
  const scale = factorScale(shares);
  const [low, high] = [Math.min(...shares), Math.max(...shares)];
  const legends = [
    keys(first.x, below, [
      { fill: '#fff0', stroke: '#0f172a', words: 'stayed: an entry of its own' },
      { fill: '#fff', words: 'veiled: merged or dropped' },
    ]),
    keys(second.x, below, mergeKeys(fates)),
    { markup: legend(third.x, below, width, scale), height: 30 },
  ];
  const markup = [
    heading(first.x, y, 'What stayed', `${count('anchor')} of ${fates.length} patches`),
    keptPanel(photo, grid, first, fates),
    heading(
      second.x,
      y,
      'Where the others went',
      [`${count('patch')} into a patch`, `${count('text')} into a text token`, `${count('dropped')} dropped`]
        .filter((words) => !words.startsWith('0 '))
        .join(', ') || 'all stayed',
    ),
    mergePanel(photo, grid, second, fates),
    heading(
      third.x,
      y,
      'Attention received',
      `${low.toPrecision(2)} to ${high.toPrecision(3)} times the average token's`,
    ),
    heatPanel(photo, grid, third, shares, scale),
    ...legends.map((block) => block.markup),
  ].join('\n');
  return { markup, height: 46 + height + 14 + Math.max(...legends.map((block) => block.height)) };
}

/** What the colours of a merge panel mean, as far as they occur. */
export function mergeKeys(fates: readonly PatchFate[]): LegendItem[] {
  const has = (fate: PatchFate['fate']) => fates.some((patch) => patch.fate === fate);
  return [
    { fill: '#fff0', stroke: GROUP_COLORS[0]!, words: 'clear, outlined: stayed (an anchor)' },
    ...(has('patch')
      ? [{ fill: GROUP_COLORS[0]!, words: 'tinted: merged into the anchor of the same colour' }]
      : []),
    ...(has('text') ? [{ fill: '#475569', words: 'grey: merged into a token of the text' }] : []),
    ...(has('dropped') ? [{ fill: '#fff', words: 'veiled: dropped' }] : []),
  ];
}

function whereTo({ anchor }: ExplainedLayer, tokens: readonly PromptToken[], token: number): string {
  const holder = anchor[token]!;
  if (holder === token) return 'stayed';
  if (holder === null) return 'dropped';
  const { patch, text } = tokens[holder]!;
  return `merged into token ${holder}, ${patch ? `the patch in row ${patch[0]}, column ${patch[1]}` : `"${text}"`}`;
}
