/** A rectangle in pixels of the photo; parts of it may lie outside, where the processor padded. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Image tokens of a prompt as a grid over the photo. */
export interface PatchGrid {
  readonly rows: number;
  readonly columns: number;
  /** What of the photo the grid covers: all of it, or what the processor's crop left. */
  readonly box: Box;
  /** How many pictures the processor cut the photo into that this grid is put together from; none where it is one picture. */
  readonly tiles?: Tiles;
}

interface Tiles {
  readonly rows: number;
  readonly columns: number;
  /** What lies between two tiles because whole patches do not cover it, as a share of a patch's side; mostly 0. */
  readonly gap: number;
}

/** Which patch an image token is. */
export interface Patch {
  /** Index of its grid. */
  readonly grid: number;
  readonly row: number;
  readonly column: number;
}

/** Where the image tokens of a prompt lie on the photo. */
export interface ImageLayout {
  readonly grids: readonly PatchGrid[];
  /** [image tokens] in the order of the prompt; null for a separator, which lies on no grid. */
  readonly patches: readonly (Patch | null)[];
}

/** The grid's tiles, or one for a grid that is one picture. */
export function tilesOf({ tiles }: PatchGrid): Tiles {
  return tiles ?? { rows: 1, columns: 1, gap: 0 };
}

/** Width and height of a grid's box in patches, gaps between tiles counted in. */
export function extentOf(grid: PatchGrid): [across: number, down: number] {
  const { rows, columns, gap } = tilesOf(grid);
  return [grid.columns + (columns - 1) * gap, grid.rows + (rows - 1) * gap];
}

/** Where a patch begins, in patches from the corner of the grid's box. */
export function cornerOf(grid: PatchGrid, row: number, column: number): [x: number, y: number] {
  const { rows, columns, gap } = tilesOf(grid);
  const before = [
    Math.floor((column * columns) / grid.columns),
    Math.floor((row * rows) / grid.rows),
  ] as const;
  return [column + before[0] * gap, row + before[1] * gap];
}
