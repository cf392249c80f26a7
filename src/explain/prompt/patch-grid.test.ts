import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cornerOf, extentOf, type PatchGrid } from './patch-grid.js';

const box = { x: 0, y: 0, width: 100, height: 100 };
const few = fc.integer({ min: 1, max: 6 });
/** A grid of tiles of `side` x `side` patches. */
const tiled = fc
  .record({ side: few, tiles: fc.record({ rows: few, columns: few, gap: fc.constantFrom(0, 0.125, 0.5) }) })
  .map(({ side, tiles }) => ({
    side,
    grid: { rows: side * tiles.rows, columns: side * tiles.columns, box, tiles },
  }));

describe('where patches begin', () => {
  it('is their row and column where the grid is one picture', () => {
    const grid: PatchGrid = { rows: 3, columns: 5, box };
    expect(cornerOf(grid, 2, 4)).toEqual([4, 2]);
    expect(extentOf(grid)).toEqual([5, 3]);
  });

  it('is a gap further on in each tile', () => {
    fc.assert(
      fc.property(tiled, ({ side, grid }) => {
        const { rows, columns, gap } = grid.tiles;
        for (let tile = 0; tile < columns; tile++) {
          for (let patch = 0; patch < side; patch++) {
            expect(cornerOf(grid, 0, tile * side + patch)).toEqual([tile * (side + gap) + patch, 0]);
          }
        }
        for (let tile = 0; tile < rows; tile++) {
          expect(cornerOf(grid, tile * side, 0)).toEqual([0, tile * (side + gap)]);
        }
      }),
    );
  });

  it('leaves room for the last patch, and no more', () => {
    fc.assert(
      fc.property(tiled, ({ grid }) => {
        const [x, y] = cornerOf(grid, grid.rows - 1, grid.columns - 1);
        expect(extentOf(grid)).toEqual([x + 1, y + 1]);
      }),
    );
  });
});
