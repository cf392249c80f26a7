import type { Inputs } from '../../models/conversation/prepare-inputs.js';
import type { ImageLayout } from './patch-grid.js';
import { type Cells, gridOf, patchesFrom, squareCells } from './picture-cells.js';
import { type ImageProcessorFacts, type Photo, type Shape, seenPart } from './seen-part.js';
import { splitPhoto } from './split-photo.js';

/**
 * Where the `count` image tokens of one photo lie on it, or a sentence that says why that cannot be known.
 *
 * The processor makes one picture of the photo, or tiles and a small copy of the whole; the vision tower then makes one token of
 * each square of a picture (or, for `image_grid_thw`, of each `merge_size` x `merge_size` squares).
 */
export function imageLayout(
  inputs: Inputs,
  processor: ImageProcessorFacts,
  photo: Photo,
  count: number,
): ImageLayout | string {
  const split = splitPhoto(inputs, processor, photo, count);
  if (split !== undefined) return split;
  const cells = cellsOf(inputs, processor, count);
  if (typeof cells === 'string') return cells;
  const grid = gridOf(cells, seenPart(processor, photo));
  return { grids: [grid], patches: patchesFrom({ grid: 0, row: 0, column: 0 }, grid) };
}

/** The tokens of a photo that is one picture. */
function cellsOf(inputs: Inputs, { merge_size = 1 }: ImageProcessorFacts, count: number): Cells | string {
  const frames = inputs.image_grid_thw as Shape | undefined;
  if (frames !== undefined) {
    const [, height, width] = Array.from(frames.data, Number) as [number, number, number];
    const [rows, columns] = [height / merge_size, width / merge_size];
    if (rows * columns === count) return { rows, columns, covered: { x: 1, y: 1 } };
    return `its ${count} image tokens are not the ${rows} x ${columns} that its processor names`;
  }
  const dims = (inputs.pixel_values as Shape | undefined)?.dims ?? [];
  if (dims.length < 4) return 'its processor hands over patches of several sizes, not one picture';
  const pictures = dims.slice(0, -3).reduce((product, size) => product * size, 1);
  if (pictures !== 1)
    return `its processor splits the photo into ${pictures} pictures with tokens of their own`;
  const [height, width] = dims.slice(-2) as [number, number];
  return (
    squareCells(count, width, height) ??
    `its ${count} image tokens are no grid of squares over ${width} x ${height} pixels`
  );
}
