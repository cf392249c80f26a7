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
   * [batch, held + tokens] what each entry, the new ones last, received from the new queries: summed over the queries,
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
    for (let row = 0; row < shape.batch; row++) {
      const expected = shape.batch * width(layer, row);
      if (attention.length === expected) continue;
      throw invalidShape(
        `attention of layer ${layer} holds ${attention.length} numbers; ${expected} entries received some.`,
      );
    }
  });
}

export function invalidShape(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-shape', message);
}
