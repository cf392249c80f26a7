import type { Inputs } from '../models/prepare-inputs.js';

/** A rectangle in pixels of the photo; parts of it may lie outside, where the processor padded. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The image tokens of a prompt as a grid over the photo, in reading order. */
export interface PatchGrid {
  readonly rows: number;
  readonly columns: number;
  /** What of the photo the grid covers: all of it, or what the processor's crop left. */
  readonly box: Box;
}

/** What is read off a transformers.js image processor; each family fills in its own. */
export interface ImageProcessorFacts {
  readonly do_resize?: boolean;
  readonly do_center_crop?: boolean;
  readonly crop_size?: number | { width: number; height: number };
  readonly do_pad?: boolean;
  readonly pad_size?: number | { width: number; height: number };
  readonly size?: unknown;
  readonly merge_size?: number;
  get_resize_output_image_size(image: Photo, size: unknown): [width: number, height: number];
}

interface Photo {
  readonly width: number;
  readonly height: number;
  /** [width, height] */
  readonly size: [number, number];
}

type Shape = { readonly dims: readonly number[]; readonly data: ArrayLike<number | bigint> };

/**
 * Where the `count` image tokens of one photo lie on it, or a sentence that says why they are no grid.
 *
 * The processor resizes the photo, may cut out the middle and may pad right and below; the vision tower then makes one token of
 * each square of what is left (or, for `image_grid_thw`, of each `merge_size` x `merge_size` squares).
 */
export function patchGrid(
  inputs: Inputs,
  processor: ImageProcessorFacts,
  photo: Photo,
  count: number,
): PatchGrid | string {
  const cells = cellsOf(inputs, processor, count);
  if (typeof cells === 'string') return cells;
  const { rows, columns, covered } = cells;
  const seen = seenPart(processor, photo);
  const box = { ...seen, width: seen.width * covered.x, height: seen.height * covered.y };
  return { rows, columns, box };
}

interface Cells {
  rows: number;
  columns: number;
  /** Share of the processed picture that whole patches cover. */
  covered: { x: number; y: number };
}

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
  const rows = Math.round(Math.sqrt((count * height) / width));
  const columns = count / rows;
  const [down, across] = [Math.floor(height / rows), Math.floor(width / columns)];
  if (!Number.isInteger(columns) || down !== across) {
    return `its ${count} image tokens are no grid of squares over ${width} x ${height} pixels`;
  }
  return { rows, columns, covered: { x: (columns * across) / width, y: (rows * down) / height } };
}

/** What of the photo becomes the processed picture, in pixels of the photo. */
function seenPart(processor: ImageProcessorFacts, photo: Photo): Box {
  const { do_resize, do_center_crop, crop_size, do_pad, pad_size, size } = processor;
  const [width, height] = do_resize ? processor.get_resize_output_image_size(photo, size) : photo.size;
  const cropped = do_center_crop ? edges(crop_size!) : { width, height };
  const padded = do_pad && pad_size ? edges(pad_size) : cropped;
  const [scaleX, scaleY] = [photo.width / width, photo.height / height];
  return {
    x: Math.floor((width - cropped.width) / 2) * scaleX,
    y: Math.floor((height - cropped.height) / 2) * scaleY,
    width: padded.width * scaleX,
    height: padded.height * scaleY,
  };
}

function edges(size: number | { width: number; height: number }): { width: number; height: number } {
  return typeof size === 'number' ? { width: size, height: size } : size;
}
