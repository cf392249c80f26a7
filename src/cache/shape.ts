import { ElasticCacheError } from '../errors.js';

/** The shape of a model's cache. */
export interface CacheShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Rows that are generated together, from prompts of equal length; 1 unless told. */
  readonly batch?: number;
}

/** The new rows of one layer. */
export interface LayerRows {
  /** [batch, kvHeads, tokens, headDim] */
  readonly keys: Float32Array;
  readonly values: Float32Array;
  /**
   * [batch, held + tokens] (rows one after the other where they hold different numbers) what each entry, the new ones last, received from the new queries: summed over the queries,
   * averaged over the heads, entries in logical order.
   */
  readonly attention?: Float32Array;
}

/** As {@link LayerRows}, with attention as the graph returns it. */
export interface LayerRowsBySlot {
  readonly keys: Float32Array;
  readonly values: Float32Array;
  /** [batch, capacity + tokens] attention received: by slot for what was held, then the new tokens. */
  readonly attentionSlots?: Float32Array;
}

export interface AppendOptions {
  /** These rows are a chunk of a longer prompt: hold everything until the append without it. */
  readonly promptContinues?: boolean;
}

/** What a layer holds for one row of the batch, in logical order. */
export interface EntryRows {
  /** [held, kvHeads, headDim] */
  readonly keys: Float32Array;
  readonly values: Float32Array;
  /** [held] original positions, in tokens seen */
  readonly positions: Int32Array;
  /** [held] how many prompt tokens each entry stands for */
  readonly counts: Int32Array;
}

/**
 * A shape that may have been left for the model to bind.
 * @throws ElasticCacheError 'invalid-shape' for a part of one
 */
export function wholeShape({ layers, kvHeads, headDim, batch }: Partial<CacheShape>): CacheShape | undefined {
  if (layers === undefined && kvHeads === undefined && headDim === undefined) return undefined;
  if (layers === undefined || kvHeads === undefined || headDim === undefined) {
    throw invalidShape(
      'give layers, kvHeads and headDim together, or none of them and let the model bind them.',
    );
  }
  return { layers, kvHeads, headDim, batch };
}

/** @throws ElasticCacheError 'invalid-shape' */
export function checkShape(shape: CacheShape): Required<CacheShape> {
  const checked = {
    layers: shape.layers,
    kvHeads: shape.kvHeads,
    headDim: shape.headDim,
    batch: shape.batch ?? 1,
  };
  for (const [name, value] of Object.entries(checked)) {
    if (!(Number.isSafeInteger(value) && value > 0)) {
      throw invalidShape(`${name} is ${value}; it must be a whole number above 0.`);
    }
  }
  return checked;
}

/** @throws ElasticCacheError 'invalid-shape' when a cache of one shape is given to a model of another */
export function checkSameModel(cache: CacheShape, model: CacheShape): void {
  for (const name of ['layers', 'kvHeads', 'headDim'] as const) {
    if (cache[name] === model[name]) continue;
    throw invalidShape(`this cache was made for ${cache[name]} ${name}, the model has ${model[name]}.`);
  }
}

/**
 * Refuses rows that do not fit, before anything is changed.
 * @param width entries that `attention` must cover for each layer and row; undefined when no attention is needed
 * @throws ElasticCacheError 'invalid-shape'
 */
export function checkRows(
  layers: readonly { keys: Float32Array; values: Float32Array; attention?: Float32Array }[],
  tokens: number,
  shape: Required<CacheShape>,
  width: ((layer: number, row: number) => number) | undefined,
): void {
  if (!(Number.isSafeInteger(tokens) && tokens > 0)) {
    throw invalidShape(`tokens is ${tokens}; an append needs a whole number above 0.`);
  }
  if (layers.length !== shape.layers) {
    throw invalidShape(`got rows for ${layers.length} layers; this cache has ${shape.layers}.`);
  }
  const size = shape.batch * shape.kvHeads * tokens * shape.headDim;
  layers.forEach(({ keys, values, attention }, layer) => {
    for (const [name, array] of [
      ['keys', keys],
      ['values', values],
    ] as const) {
      if (array.length === size) continue;
      throw invalidShape(
        `${name} of layer ${layer} hold ${array.length} numbers; [${shape.batch}, ${shape.kvHeads}, ${tokens}, ${shape.headDim}] is ${size}.`,
      );
    }
    if (width === undefined) return;
    if (attention === undefined) {
      throw invalidShape(
        `layer ${layer} came without attention, which this policy needs here; pass the attention each entry received.`,
      );
    }
    let expected = 0;
    for (let row = 0; row < shape.batch; row++) expected += width(layer, row);
    if (attention.length === expected) return;
    throw invalidShape(
      `attention of layer ${layer} holds ${attention.length} numbers; ${expected} entries received some.`,
    );
  });
}

/** What one entry costs over all layers and rows. */
export function bytesPerEntry({ layers, kvHeads, headDim, batch }: Required<CacheShape>): number {
  return layers * batch * kvHeads * headDim * 2 * Float32Array.BYTES_PER_ELEMENT;
}

export function invalidShape(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-shape', message);
}

export function noSuchLayer(layer: number, layers: number): ElasticCacheError {
  return invalidShape(`layer ${layer} is not in this cache, which has ${layers} layers.`);
}
