import type { Box, PatchGrid } from '../prompt/patch-grid.js';
import { type Canvas, type Photo, panelSize } from './canvas.js';
import { type Block, heading, INNER, MARGIN } from './layout.js';

const GAP = 24;
const [TITLE, LEGEND] = [46, 14];

/** Width of one of three columns. */
export const COLUMN = (INNER - 2 * GAP) / 3;

/** A panel under its heading, with what explains its colours below it. */
export interface Column {
  readonly title: string;
  readonly line: string;
  readonly view: Canvas['view'];
  draw(canvas: Canvas, place: Box): string;
  legend(x: number, y: number): Block;
}

/** Three columns side by side. */
export function threeColumns(y: number, photo: Photo, grid: PatchGrid, columns: readonly Column[]): Block {
  const blocks = columns.map(({ title, line, view, draw, legend }, index) => {
    const canvas = { photo, grid, view };
    const [width, height] = panelSize(canvas, COLUMN, 1.25 * COLUMN);
    const place = { x: MARGIN + index * (COLUMN + GAP), y: y + TITLE, width, height };
    const key = legend(place.x, place.y + height + LEGEND);
    const markup = [heading(place.x, y, title, line), draw(canvas, place), key.markup].join('\n');
    return { markup, height: TITLE + height + LEGEND + key.height };
  });
  return {
    markup: blocks.map(({ markup }) => markup).join('\n'),
    height: Math.max(...blocks.map(({ height }) => height)),
  };
}
