/** Rows allocated beyond those needed: a sixteenth, so that growing costs O(1) per token and little memory. */
export function headroom(rows: number): number {
  return Math.max(16, rows >> 4);
}

/**
 * Capacities are multiples of it: the kernels of ONNX Runtime add up rows in groups of so many, and the sums are then the same to the last bit however many empty rows
 * and other lanes stand beside those in use (tested for lanes that are run alone and together).
 */
const GROUP = 16;

/**
 * Capacity of a layer, on average over the layers, that is enough where these hold unequal numbers of rows, `mean` on average: beside others in the same lanes, each layer of which is
 * as long as its longest. Eight prompts of SmolLM2-135M under `elastic-plus` need 1.06 of the mean when their lengths differ, 1.25 when they are equally long.
 */
export function roomForUnequal(mean: number): number {
  return roomFor(Math.ceil(1.25 * mean), Number.POSITIVE_INFINITY) + 2 * GROUP;
}

/** Capacity to allocate when `rows` are needed: with room to grow, but hardly beyond the `most` that are ever needed. */
export function roomFor(rows: number, most: number): number {
  const roomy = rows + headroom(rows);
  return Math.ceil((rows <= most ? Math.min(roomy, most) : roomy) / GROUP) * GROUP;
}
