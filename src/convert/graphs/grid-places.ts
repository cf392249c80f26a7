import { DataType } from '../../graph/onnx/onnx.js';
import type { Layers } from './layers.js';

/** Where each patch is, all int64 [patches]. */
export interface PlacesOfPatches {
  /** The index of its frame, over all images; two images share none. */
  readonly frame: string;
  readonly row: string;
  readonly column: string;
  /** How many of its frame come before it. */
  readonly inFrame: string;
  /** 0, 1, 2, ... */
  readonly indexes: string;
}

/**
 * Adds where patches are that lie one image after another, frame by frame, each frame in blocks of merge x merge patches.
 * @param pixels [patches, ...]
 * @param grids frames, rows and columns of each image [images, 3], int64
 */
export function placesOfPatches(
  layers: Layers,
  pixels: string,
  grids: string,
  merge: number,
): PlacesOfPatches {
  const op = (type: string, ...inputs: string[]) => layers.op(type, inputs);
  const one = (value: number) => op('Squeeze', layers.int64(value));
  const floor = (a: string, b: string) => op('Div', a, b);
  const rest = (a: string, b: string) => op('Mod', a, b);
  const count = op('Squeeze', layers.op('Shape', [pixels], { attributes: { start: 0, end: 1 } }));
  const indexes = op('Range', one(0), count, one(1));

  const side = (axis: number) => layers.op('Gather', [grids, one(axis)], { attributes: { axis: 1 } });
  const sizes = op('Mul', op('Mul', side(0), side(1)), side(2));
  const ends = op('CumSum', sizes, one(0));
  const frameEnds = op('CumSum', side(0), one(0));
  const passed = op(
    'GreaterOrEqual',
    op('Unsqueeze', indexes, layers.int64(1)),
    op('Unsqueeze', ends, layers.int64(0)),
  );
  const counted = layers.op('Cast', [passed], { attributes: { to: DataType.INT64 } });
  const image = layers.op('ReduceSum', [counted, layers.int64(1)], { attributes: { keepdims: 0 } });
  const ofImage = (values: string) => op('Gather', values, image);

  const within = op('Sub', indexes, ofImage(op('Sub', ends, sizes)));
  const columns = ofImage(side(2));
  const area = op('Mul', ofImage(side(1)), columns);
  const frame = op('Add', ofImage(op('Sub', frameEnds, side(0))), floor(within, area));

  const place = rest(within, area);
  const length = one(merge);
  const block = floor(place, one(merge ** 2));
  const blocks = floor(columns, length);
  const row = op('Add', op('Mul', floor(block, blocks), length), rest(floor(place, length), length));
  const column = op('Add', op('Mul', rest(block, blocks), length), rest(place, length));
  return { frame, row, column, inFrame: place, indexes };
}
