import { type Block, sectionHeading, stack } from './drawing/layout.js';
import type { Explanation } from './prompt/explain-prompt.js';
import type { PatchGrid } from './prompt/patch-grid.js';

/** A grid with the tokens that are its patches. */
export interface PlacedGrid {
  readonly grid: PatchGrid;
  /** [rows x columns] the place in the prompt of each patch, in reading order. */
  readonly places: readonly number[];
}

/** The grids of an explanation, in the order of the page. */
export function placedGrids({ grids, tokens }: Explanation): PlacedGrid[] {
  const placed = grids.map((grid) => ({ grid, places: new Array<number>(grid.rows * grid.columns) }));
  tokens.forEach(({ patch }, place) => {
    if (!patch) return;
    const { grid, places } = placed[patch.grid]!;
    places[patch.row * grid.columns + patch.column] = place;
  });
  return placed;
}

/** What a grid of several shows. */
export function nameOf({ tiles }: PatchGrid): string {
  return tiles ? `the photo in ${tiles.rows} x ${tiles.columns} tiles` : 'the whole photo';
}

type Draw = (y: number) => Block;

/** What is drawn of each grid, below its name where there are several. */
export function sections(
  placed: readonly PlacedGrid[],
  blocksOf: (one: PlacedGrid) => readonly Draw[],
): Draw[] {
  return placed.flatMap((one) => {
    const [first, ...rest] = blocksOf(one);
    if (placed.length === 1) return [first!, ...rest];
    const name = nameOf(one.grid);
    const title = name.charAt(0).toUpperCase() + name.slice(1);
    return [(y) => stack(y, 18, [(at) => sectionHeading(at, title), first!]), ...rest];
  });
}
