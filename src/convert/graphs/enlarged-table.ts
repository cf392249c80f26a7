/** The cubic's steepness, as PyTorch has it. */
const a = -0.75;

/** What the four neighbours of a place weigh that lies `t` behind the second of them. */
function weights(t: number): [number, number, number, number] {
  const near = (x: number) => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x: number) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return [far(t + 1), near(t), near(1 - t), far(2 - t)];
}

/**
 * A table of a square of places [from^2, width] as one of to^2, by bicubic interpolation: PyTorch's `interpolate` with
 * `align_corners=False`, which takes the border for what is beyond it.
 */
export function enlargedTable(table: Float32Array, from: number, to: number): Float32Array {
  if (from === to) return table;
  const width = table.length / from ** 2;
  const rows = alongFirst(table, from, to, from * width);
  const columns = new Float32Array(to * to * width);
  for (let row = 0; row < to; row++) {
    const line = rows.subarray(row * from * width, (row + 1) * from * width);
    columns.set(alongFirst(line, from, to, width), row * to * width);
  }
  return columns;
}

/** [from, length] as [to, length]. */
function alongFirst(values: Float32Array, from: number, to: number, length: number): Float32Array {
  const out = new Float32Array(to * length);
  for (let place = 0; place < to; place++) {
    const source = ((place + 0.5) * from) / to - 0.5;
    const second = Math.floor(source);
    for (const [i, weight] of weights(source - second).entries()) {
      const start = Math.min(from - 1, Math.max(0, second - 1 + i)) * length;
      for (let j = 0; j < length; j++) out[place * length + j]! += weight * values[start + j]!;
    }
  }
  return out;
}
