import type { Held, KVFormat } from './formats.js';

/** Lanes of rows of keys and values of one layer. */
export interface BlockShape {
  readonly lanes: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly format: KVFormat;
  /** Biases of a row: one, or one for each key head. */
  readonly biases: number;
}

/** Keys and values as computed, [kvHeads, capacity, headDim]. */
export interface FloatRows {
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly capacity: number;
}

/** The memory of a block as plain arrays. */
export interface StoredRows {
  readonly keys: Held;
  readonly values: Held;
  readonly keyScales?: Float32Array<ArrayBuffer> | undefined;
  readonly valueScales?: Float32Array<ArrayBuffer> | undefined;
  readonly bias: Float32Array<ArrayBuffer>;
  readonly capacity: number;
  /** Of a packed block: [lanes, kvHeads] where in its lane each head's rows end. */
  readonly ends?: Int32Array<ArrayBuffer> | undefined;
}
