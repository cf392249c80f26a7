import { type Photo, panelSize } from './canvas.js';
import type { ExplainedLayer, PromptToken } from './explain-prompt.js';
import { factorScale, legend, times } from './heat.js';
import {
  type Block,
  CLEAR,
  heading,
  INNER,
  keys,
  type LegendItem,
  MARGIN,
  promptText,
  stack,
} from './layout.js';
import { GROUP_COLORS, type PatchFate } from './merge-groups.js';
import { heatPanel, keptPanel, mergePanel } from './panels.js';
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
  const stayed = layer.anchor.map((anchor, token) => (anchor === token ? 1 : 0));
  const ofPatches = patchPlaces(tokens).map((place) => shares[place]!);
  return stack(y, 30, [
    (at) => panels(at, photo, grid, fates, ofPatches),
    (at) => promptText(at, tokens, 1, stayed, shares, (token) => whereTo(layer, tokens, token)),
  ]);
}

function panels(
  y: number,
  photo: Photo,
  grid: PatchGrid,
  fates: readonly PatchFate[],
  shares: readonly number[],
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
  const scale = factorScale(shares);
  const legends = [
    keys(first.x, below, keptKeys(fates, grid, photo), COLUMN),
    keys(second.x, below, mergeKeys(fates), COLUMN),
    { markup: legend(third.x, below, COLUMN, scale), height: 28 },
  ];
  const most = `at most ${times(Math.max(...shares))} what the average token received`;
  const stayed = fates.filter(({ fate }) => fate === 'anchor').length;
  const markup = [
    heading(first.x, y, 'What stayed', `${stayed} of ${fates.length} patches`),
    keptPanel(whole, first, fates),
    heading(second.x, y, 'Where the others went', destinations(fates)),
    mergePanel(seen, second, fates),
    heading(third.x, y, 'Attention received', most),
    heatPanel(seen, third, shares, scale),
    ...legends.map((block) => block.markup),
  ].join('\n');
  return { markup, height: 46 + height + 14 + Math.max(...legends.map((block) => block.height)) };
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

function keptKeys(fates: readonly PatchFate[], { box }: PatchGrid, photo: Photo): LegendItem[] {
  const cut = box.width < photo.width - 1 || box.height < photo.height - 1;
  const gone = fates.some(({ fate }) => fate !== 'anchor');
  return [
    { fill: CLEAR, stroke: '#0f172a', words: 'clear, outlined: stayed' },
    ...(gone ? [{ fill: '#fff', words: 'veiled: did not stay' }] : []),
    ...(cut ? [{ fill: 'url(#unseen)', words: 'striped: cut away before the model sees it' }] : []),
  ];
}

/** What the colours of a merge panel mean, as far as they occur. */
export function mergeKeys(fates: readonly PatchFate[]): LegendItem[] {
  const has = (fate: PatchFate['fate']) => fates.some((patch) => patch.fate === fate);
  const color = GROUP_COLORS[0]!;
  return [
    { fill: CLEAR, stroke: has('patch') ? color : '#0f172a', words: 'clear, outlined: stayed (an anchor)' },
    ...(has('patch') ? [{ fill: color, words: 'tinted: merged into the anchor of the same colour' }] : []),
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
