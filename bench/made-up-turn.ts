import type { KVCache } from '../src/memory/kv-cache.js';

/** Makes keys (or values) [kvHeads, tokens, headDim]. */
export type MakeRows = (tokens: number) => Float32Array;

/**
 * Lets a cache read a turn of made-up rows, the same in every layer, in the parts that its policy asks for.
 * @param attention what an entry receives; called for each
 */
export function readMadeUpTurn(
  cache: KVCache,
  layers: number,
  kvHeads: number,
  tokens: number,
  make: MakeRows,
  attention: () => number,
  row = 0,
): void {
  const parts = cache.parts(tokens, 2048);
  parts.forEach((part, index) => {
    const rows = make(part.tokens);
    const fed = cache.past(0, row).capacity;
    const received = Float32Array.from({ length: kvHeads * (fed + part.tokens) }, attention);
    const layer = { keys: rows, values: rows, ...(part.observed > 0 && { attention: received }) };
    cache.appendTurn(
      Array.from({ length: layers }, () => layer),
      part.tokens,
      { turnContinues: index + 1 < parts.length, observed: part.observed },
      row,
    );
  });
}
