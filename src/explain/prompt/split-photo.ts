import type { Inputs } from '../../models/conversation/prepare-inputs.js';
import type { Box, ImageLayout, Patch, PatchGrid } from './patch-grid.js';
import { type Cells, gridOf, patchesFrom, squareCells } from './picture-cells.js';
import { type ImageProcessorFacts, type Photo, type Shape, seenPart } from './seen-part.js';

/** What a photo is split into: how many tiles, and how large each picture is. */
interface Split {
  readonly rows: number;
  readonly columns: number;
  readonly pictures: number;
  readonly width: number;
  readonly height: number;
}

/**
 * The layout of a photo that a processor splits into tiles and a small copy of the whole, or why it cannot be known. Undefined
 * where the processor names no tiles.
 */
export function splitPhoto(
  inputs: Inputs,
  processor: ImageProcessorFacts,
  photo: Photo,
  count: number,
): ImageLayout | string | undefined {
  const [rows, columns] = [inputs.rows, inputs.cols].map(
    (named) => (named as number[][] | undefined)?.[0]?.[0],
  );
  if (rows && columns)
    return tileByTile(picturesOf(inputs, rows, columns), seenPart(processor, photo), count);
  const sizes = inputs.image_sizes as Shape | undefined;
  if (sizes === undefined || inputs.num_img_tokens === undefined) return undefined;
  const padded = Array.from(sizes.data, Number) as [height: number, width: number];
  return lineByLine(inputs, processor, photo, padded, count);
}

function picturesOf(inputs: Inputs, rows: number, columns: number): Split {
  const [pictures, , height, width] = (inputs.pixel_values as Shape).dims.slice(-4) as [
    number,
    number,
    number,
    number,
  ];
  return { rows, columns, pictures, width, height };
}

/**
 * Idefics3 and SmolVLM: the photo is stretched to whole tiles; the prompt has the tokens of one tile after the other, then those
 * of the whole photo, a picture as large as a tile. `pixel_values` [1, tiles + 1, 3, side, side].
 */
function tileByTile(split: Split, seen: Box, count: number): ImageLayout | string {
  const { rows, columns, pictures, width, height } = split;
  const cells = squareCells(count / pictures, width, height);
  if (pictures !== rows * columns + 1 || width !== height || cells === undefined)
    return noSquares(split, count);
  const tiles = Array.from({ length: rows * columns }, (_, tile) => ({
    grid: 0,
    row: Math.floor(tile / columns) * cells.rows,
    column: (tile % columns) * cells.columns,
  }));
  return {
    grids: [tiledGrid(cells, split, seen), gridOf(cells, seen)],
    patches: [...tiles, WHOLE].flatMap((first) => patchesFrom(first, cells)),
  };
}

/**
 * Phi-3.5-vision: the photo is padded on all sides to whole tiles; the prompt has the rows of patches of all tiles side by side,
 * a separator after each row, one more separator, and the whole photo in such rows (the order `sub_glb` of its embedding layer,
 * the only one that its published code takes). `pixel_values` [1, 1 + tiles, 3, 336, 336].
 *
 * The processor of transformers.js always cuts as many rows of tiles as columns, whatever the padded size is, and the model
 * takes the tiles to be those of the size: only where the two agree do tokens lie where the model takes them to be.
 */
function lineByLine(
  inputs: Inputs,
  processor: ImageProcessorFacts,
  photo: Photo,
  [paddedHeight, paddedWidth]: [height: number, width: number],
  count: number,
): ImageLayout | string {
  const tile = (inputs.pixel_values as Shape).dims.at(-1)!;
  const split = picturesOf(inputs, paddedHeight / tile, paddedWidth / tile);
  const { rows, columns, pictures } = split;
  const cut = Math.sqrt(pictures - 1);
  if (rows !== cut || columns !== cut) {
    return `its processor cuts the photo into ${cut} x ${cut} tiles where its model takes them for ${rows} x ${columns}`;
  }
  const tokens = processor.config?.num_img_tokens ?? 0;
  const cells = squareCells(tokens, tile, tile);
  if (cells === undefined) return noSquares(split, count);
  const [height, width] = (inputs.reshaped_input_sizes as [number, number][])[0]!;
  const [scaleX, scaleY] = [photo.width / width, photo.height / height];
  const seen = {
    x: -Math.floor((paddedWidth - width) / 2) * scaleX,
    y: -Math.floor((paddedHeight - height) / 2) * scaleY,
    width: paddedWidth * scaleX,
    height: paddedHeight * scaleY,
  };
  const grids = [tiledGrid(cells, split, seen), gridOf(cells, seen)];
  const patches = [...linesOf(0, grids[0]!), null, ...linesOf(1, grids[1]!)];
  return patches.length === count ? { grids, patches } : noSquares(split, count);
}

/** The patches of a grid row by row with a separator after each row. */
function linesOf(grid: number, { rows, columns }: PatchGrid): (Patch | null)[] {
  return Array.from({ length: rows }, (_, row) => [
    ...patchesFrom({ grid, row, column: 0 }, { rows: 1, columns }),
    null,
  ]).flat();
}

const WHOLE = { grid: 1, row: 0, column: 0 };

/** Tiles of the same cells over what the model sees; cells that do not cover a tile leave a gap before the next. */
function tiledGrid(
  { rows, columns, covered }: Cells,
  tiles: { rows: number; columns: number },
  seen: Box,
): PatchGrid {
  return {
    rows: tiles.rows * rows,
    columns: tiles.columns * columns,
    box: {
      ...seen,
      width: seen.width * (1 - (1 - covered.x) / tiles.columns),
      height: seen.height * (1 - (1 - covered.y) / tiles.rows),
    },
    tiles: { rows: tiles.rows, columns: tiles.columns, gap: columns / covered.x - columns },
  };
}

function noSquares({ rows, columns, pictures, width, height }: Split, count: number): string {
  return `its ${count} image tokens are not squares of ${rows} x ${columns} tiles and the whole photo, ${pictures} pictures of ${width} x ${height} pixels`;
}
