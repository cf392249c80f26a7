/** Bytes as megabytes, to three figures: `1.31 MB`, `0.0042 MB`, `1070 MB`. */
export function megabytes(bytes: number): string {
  return `${Number((bytes / 1e6).toPrecision(3))} MB`;
}

/** A time: `3.2 ms`, `812 ms`, `4.1 s`. */
export function milliseconds(time: number | null): string {
  if (time === null) return '-';
  if (time >= 1000) return `${(time / 1000).toFixed(1)} s`;
  return `${time.toFixed(time < 100 ? 1 : 0)} ms`;
}

/** A share of one as a whole percentage. */
export function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}
