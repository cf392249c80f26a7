/** Bytes as people read them: `640 bytes`, `4.2 MB`, `13.5 GB`. */
export function sizeName(bytes: number): string {
  if (bytes < 1e3) return `${bytes} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  const at = Math.min(Math.floor(Math.log10(bytes) / 3), units.length);
  return `${(bytes / 1e3 ** at).toFixed(1)} ${units[at - 1]}`;
}
