import { tag } from '../../svg.js';
import { GROUP_COLORS, type PatchFate } from '../prompt/merge-groups.js';
import { type Box, cornerOf, type PatchGrid, tilesOf } from '../prompt/patch-grid.js';
import { type Canvas, panel } from './canvas.js';
import { heatColor, type Scale } from './heat.js';

/** The outline of what stayed. */
export const OUTLINE = '#0f172a';
/** What went into a patch of another grid. */
export const ELSEWHERE = '#78350f';

/** The photo with the patches of the grid as thin lines. */
export function plainPanel(canvas: Canvas, place: Box): string {
  const { grid } = canvas;
  const tiles = tilesOf(grid);
  const [rows, columns] = [grid.rows / tiles.rows, grid.columns / tiles.columns];
  const corners = Array.from({ length: tiles.rows * tiles.columns }, (_, tile) =>
    cornerAt(grid, Math.floor(tile / tiles.columns) * rows, (tile % tiles.columns) * columns),
  );
  const lines = corners.flatMap(([x, y]) => [
    ...Array.from({ length: rows + 1 }, (_, row) => `M${x} ${thousandths(y + row)}h${columns}`),
    ...Array.from({ length: columns + 1 }, (_, column) => `M${thousandths(x + column)} ${y}v${rows}`),
  ]);
  const frames = corners.map(([x, y]) => `M${x} ${y}h${columns}v${rows}h${-columns}z`);
  const white = { fill: 'none', stroke: '#fff' };
  return panel(canvas, place, 'The photo in patches', (side) => [
    tag('path', { d: lines.join(''), ...white, 'stroke-opacity': 0.4, 'stroke-width': 0.7 / side }),
    ...(grid.tiles
      ? [tag('path', { class: 'tile', d: frames.join(''), ...white, 'stroke-width': 2 / side })]
      : []),
  ]);
}

/** The patches that stayed, clear and outlined; the others under a veil. */
export function keptPanel(canvas: Canvas, place: Box, fates: readonly PatchFate[]): string {
  const { grid } = canvas;
  return panel(canvas, place, 'Patches that stayed', (side) => [
    cells(grid, fates, ({ fate }) => fate !== 'anchor', {
      class: 'gone',
      fill: '#fff',
      'fill-opacity': 0.82,
    }),
    outlines(grid, fates, () => true, OUTLINE, Math.min(0.12, 1.2 / side)),
  ]);
}

/** Each patch in the colour of the anchor that it went to. */
export function mergePanel(canvas: Canvas, place: Box, fates: readonly PatchFate[]): string {
  const { grid } = canvas;
  return panel(canvas, place, 'Where the other patches went', (side) => [
    cells(grid, fates, ({ fate }) => fate === 'dropped', {
      class: 'dropped',
      fill: '#fff',
      'fill-opacity': 0.88,
    }),
    cells(grid, fates, ({ fate }) => fate === 'text' || fate === 'separator', {
      class: 'to-text',
      fill: '#475569',
      'fill-opacity': 0.85,
    }),
    cells(grid, fates, ({ fate }) => fate === 'other-grid', {
      class: 'to-other-grid',
      fill: ELSEWHERE,
      'fill-opacity': 0.85,
    }),
    outlines(grid, fates, ({ color }) => color === undefined, OUTLINE, Math.min(0.12, 1.2 / side)),
    ...GROUP_COLORS.flatMap((fill, color) => [
      cells(grid, fates, (patch) => patch.fate === 'patch' && patch.color === color, {
        class: 'merged',
        fill: pale(fill),
        'fill-opacity': 0.8,
      }),
      outlines(grid, fates, (patch) => patch.color === color, fill, Math.min(0.24, 2 / side)),
    ]),
  ]);
}

/** Each patch in the colour of its number, over the photo in grey. */
export function heatPanel(canvas: Canvas, place: Box, values: readonly number[], scale: Scale): string {
  // One path for each of so many colours: a page may hold tens of thousands of patches.
  const steps = 24;
  const bins = values.map((value) => Math.round(scale.share(value) * steps));
  const drawn = Array.from({ length: steps + 1 }, (_, bin) =>
    cells(canvas.grid, bins, (other) => other === bin, {
      class: 'heat',
      fill: heatColor(bin / steps),
      'fill-opacity': 0.8,
    }),
  );
  return panel(canvas, place, 'The photo in grey, each patch coloured by its number', () => drawn, 'grey');
}

/** Halfway to white, so that what stayed stands out. */
function pale(color: string): string {
  const channels = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
  return `#${channels.map((value) => Math.round((value + 255) / 2).toString(16)).join('')}`;
}

/** The chosen cells as one path in units of the grid, a square each; nothing for none. */
function cells<T>(
  grid: PatchGrid,
  values: readonly T[],
  chosen: (value: T) => boolean,
  attributes: Record<string, string | number>,
): string {
  const squares = values.map((value, patch) => {
    if (!chosen(value)) return '';
    const [x, y] = cornerAt(grid, Math.floor(patch / grid.columns), patch % grid.columns);
    return `M${x} ${y}h1v1h-1z`;
  });
  const d = squares.join('');
  return d && tag('path', { ...attributes, d });
}

/** The chosen of the patches that stayed, outlined within their cells so that neighbours do not cover each other's lines. */
function outlines(
  grid: PatchGrid,
  fates: readonly PatchFate[],
  chosen: (patch: PatchFate) => boolean,
  stroke: string,
  width: number,
): string {
  const edge = thousandths(1 - width);
  const squares = fates.map((patch, index) => {
    if (patch.fate !== 'anchor' || !chosen(patch)) return '';
    const [x, y] = cornerAt(grid, Math.floor(index / grid.columns), index % grid.columns);
    return `M${thousandths(x + width / 2)} ${thousandths(y + width / 2)}h${edge}v${edge}h${-edge}z`;
  });
  const d = squares.join('');
  return d && tag('path', { class: 'anchor', fill: 'none', stroke, 'stroke-width': width, d });
}

function cornerAt(grid: PatchGrid, row: number, column: number): [x: number, y: number] {
  const [x, y] = cornerOf(grid, row, column);
  return [thousandths(x), thousandths(y)];
}

function thousandths(value: number): number {
  return Math.round(value * 1000) / 1000;
}
