import type { Box, Patch, PatchGrid } from './patch-grid.js';

/** The tokens of one processed picture, in reading order. */
export interface Cells {
  readonly rows: number;
  readonly columns: number;
  /** Share of the processed picture that whole patches cover. */
  readonly covered: { readonly x: number; readonly y: number };
}

/** The squares that `count` tokens are of a processed picture, from its upper left corner; undefined where they can be none. */
export function squareCells(count: number, width: number, height: number): Cells | undefined {
  const rows = Math.round(Math.sqrt((count * height) / width));
  const columns = count / rows;
  const [down, across] = [Math.floor(height / rows), Math.floor(width / columns)];
  if (!Number.isInteger(columns) || down !== across) return undefined;
  return { rows, columns, covered: { x: (columns * across) / width, y: (rows * down) / height } };
}

/** The grid of a picture that is made of `seen`. */
export function gridOf({ rows, columns, covered }: Cells, seen: Box): PatchGrid {
  return {
    rows,
    columns,
    box: { ...seen, width: seen.width * covered.x, height: seen.height * covered.y },
  };
}

/** `rows` x `columns` patches of a grid in reading order, from one of them on. */
export function patchesFrom(
  { grid, row, column }: Patch,
  { rows, columns }: { rows: number; columns: number },
): Patch[] {
  return Array.from({ length: rows * columns }, (_, index) => ({
    grid,
    row: row + Math.floor(index / columns),
    column: column + (index % columns),
  }));
}
