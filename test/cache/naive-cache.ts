import type { Budget } from '../../src/cache/budget.js';
import type { CacheShape, LayerRows } from '../../src/cache/shape.js';

/** One entry as a plain object; `key` and `value` are [kvHeads * headDim]. */
export interface NaiveEntry {
  position: number;
  count: number;
  score: number;
  key: number[];
  value: number[];
}

/** The cache written the obvious way, an array of objects for each layer and row: the oracle of the fast one. */
export class NaiveCache {
  readonly lists: NaiveEntry[][][]; // [batch][layers][held]
  seen = 0;
  prefilled = false;

  constructor(
    readonly shape: Required<CacheShape>,
    readonly budget: Budget,
    readonly startBatchRow: () => NaivePolicy,
  ) {
    this.lists = times(shape.batch, () => times(shape.layers, () => []));
    this.policies = times(shape.batch, startBatchRow);
  }

  readonly policies: NaivePolicy[];
  image: readonly Uint8Array[] = [];

  noteImage(image: readonly Uint8Array[]): void {
    this.image = image;
  }

  append(rows: readonly LayerRows[], tokens: number, { promptContinues = false } = {}): void {
    const { kvHeads, headDim } = this.shape;
    const received = this.lists.map((layers, row) =>
      layers.map((list, layer) => {
        const { keys, values, attention } = rows[layer]!;
        for (let token = 0; token < tokens; token++) {
          const rowOf = (array: Float32Array) =>
            times(kvHeads * headDim, (i) => {
              const head = Math.floor(i / headDim);
              return array[((row * kvHeads + head) * tokens + token) * headDim + (i % headDim)]!;
            });
          list.push({
            position: this.seen + token,
            count: 1,
            score: 0,
            key: rowOf(keys),
            value: rowOf(values),
          });
        }
        if (attention === undefined) return list.map(() => 0);
        const start = this.lists.slice(0, row).reduce((sum, other) => sum + other[layer]!.length, 0);
        return Array.from(attention.slice(start, start + list.length));
      }),
    );
    this.seen += tokens;
    this.lists.forEach((layers, row) => {
      this.policies[row]!.received(layers, received[row]!, this.prefilled);
    });
    if (promptContinues) return;
    const share =
      typeof this.budget === 'number'
        ? this.budget * this.seen
        : Math.min(this.seen, (this.budget as { tokens: number }).tokens);
    this.lists.forEach((layers, row) => {
      if (this.prefilled) this.policies[row]!.decode(layers, share, this.seen);
      else this.policies[row]!.prompt(layers, share, this.image[row]!);
    });
    this.prefilled = true;
  }

  entries(layer: number, row = 0) {
    const list = this.lists[row]![layer]!;
    return {
      keys: Float32Array.from(list.flatMap(({ key }) => key)),
      values: Float32Array.from(list.flatMap(({ value }) => value)),
      positions: Int32Array.from(list, ({ position }) => position),
      counts: Int32Array.from(list, ({ count }) => count),
    };
  }
}

/** A method that edits the arrays in place. */
export interface NaivePolicy {
  received(layers: NaiveEntry[][], attention: number[][], prefilled: boolean): void;
  prompt(layers: NaiveEntry[][], share: number, image: Uint8Array): void;
  decode(layers: NaiveEntry[][], share: number, seen: number): void;
}

export function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** The plain mean of an anchor and what is merged into it. */
export function meanOf(entries: NaiveEntry[]): Pick<NaiveEntry, 'key' | 'value' | 'count'> {
  const mean = (name: 'key' | 'value') =>
    entries[0]![name].map(
      (_, i) => entries.reduce((sum, entry) => sum + entry[name][i]!, 0) / entries.length,
    );
  return { key: mean('key'), value: mean('value'), count: entries.length };
}
