import type { Budget } from '../cache/budget.js';
import type { CachePolicy } from '../cache/policy.js';
import { ElasticCacheError, shown } from '../errors.js';
import { bytesPerHead, KV_FORMATS, type KVFormat } from './rows/formats.js';
import type { FindSimilar } from './turns/most-similar.js';

/** The shape of a model's cache. */
export interface CacheShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Sequences that are generated together; 1 unless told. */
  readonly batch?: number;
  /** How keys and values are held; float32 unless told. */
  readonly format?: KVFormat;
  /** How the unmodified decoder holds them, which is what a full cache is counted in; as `format` unless told. */
  readonly stockFormat?: KVFormat;
  /** What tells the model from others of its shape; empty where nobody said. */
  readonly model?: string;
}

export interface KVCacheOptions extends Partial<CacheShape> {
  readonly policy: CachePolicy;
  readonly budget: Budget;
}

export type ModelShape = Required<CacheShape>;

/** New rows of one layer. */
export interface LayerRows {
  /** [batch, kvHeads, tokens, headDim] */
  readonly keys: Float32Array;
  readonly values: Float32Array;
  /**
   * What each entry, the new ones last, received from the new queries: [batch, kvHeads, P + tokens] by row of the layer's memory for what is held (P rows are fed, empty ones included), then by new
   * token, for each key head.
   */
  readonly attention?: Float32Array | undefined;
}

export interface AppendOptions {
  /** These rows are a part of a longer turn: hold everything until the append without it. */
  readonly turnContinues?: boolean;
  /** Tokens that follow in the same turn after this completes: what is held is brought down now to what it may be after all of them. */
  readonly ahead?: number;
  /** How many of these tokens, the last ones, `attention` is of; all of them unless told. */
  readonly observed?: number;
  /** Answers whose keys are alike, where a policy merges by that; without it, slowly. */
  readonly similar?: FindSimilar;
  /** The tokens are those of the turn, read once more behind it, with attention of all of them: they are not held. */
  readonly again?: boolean;
}

/** What a layer holds for one sequence, in ascending position. */
export interface EntryRows {
  /** [held, kvHeads, headDim]; of the head that was asked for alone, [held, 1, headDim], where heads choose for themselves */
  readonly keys: Float32Array;
  readonly values: Float32Array;
  /** [held] original positions, in tokens seen */
  readonly positions: Int32Array;
  /** [held] how many tokens each entry stands for */
  readonly counts: Int32Array;
}

/**
 * A shape that may have been left for the model to bind.
 * @throws ElasticCacheError 'invalid-shape' for a part of one
 */
export function wholeShape({
  layers,
  kvHeads,
  headDim,
  ...rest
}: Partial<CacheShape>): CacheShape | undefined {
  if (layers === undefined && kvHeads === undefined && headDim === undefined) return undefined;
  if (layers === undefined || kvHeads === undefined || headDim === undefined) {
    throw invalidShape(
      'give layers, kvHeads and headDim together, or none of them and let the model bind them.',
    );
  }
  return { layers, kvHeads, headDim, ...rest };
}

/** @throws ElasticCacheError 'invalid-shape' */
export function checkShape(shape: CacheShape): ModelShape {
  const numbers = {
    layers: shape.layers,
    kvHeads: shape.kvHeads,
    headDim: shape.headDim,
    batch: shape.batch ?? 1,
  };
  for (const [name, value] of Object.entries(numbers)) {
    if (!(Number.isSafeInteger(value) && value > 0)) {
      throw invalidShape(`${name} is ${shown(value)}; it must be a whole number above 0.`);
    }
  }
  const { format = 'float32', stockFormat = format } = shape;
  for (const name of [format, stockFormat]) {
    if (!KV_FORMATS.includes(name)) {
      throw invalidShape(`format is ${shown(name)}; choose one of ${KV_FORMATS.join(', ')}.`);
    }
  }
  return { ...numbers, format, stockFormat, model: shape.model ?? '' };
}

/**
 * @param holds whether the cache holds tokens, which mean nothing to another model, whatever its shape
 * @throws ElasticCacheError 'model-mismatch' when a cache of one shape or model is given to another, 'invalid-shape' when it holds another batch
 */
export function checkSameModel(cache: ModelShape, model: ModelShape, holds: boolean): void {
  for (const name of ['layers', 'kvHeads', 'headDim', 'format'] as const) {
    if (cache[name] === model[name] || (name === 'format' && !holds)) continue;
    throw otherModel(`this cache was made for ${cache[name]} ${name}, the model has ${model[name]}`);
  }
  if (holds && cache.model !== model.model) {
    throw otherModel('this cache holds tokens of another model');
  }
  if (holds && cache.batch !== model.batch) {
    throw invalidShape(
      `this cache holds a batch of ${cache.batch}, not ${model.batch}; reset() it or use a new one.`,
    );
  }
}

/**
 * Refuses rows that do not fit, before anything is changed.
 * @param fed [layers] rows that were fed as the past; undefined when no attention is needed
 * @throws ElasticCacheError 'invalid-shape'
 */
export function checkRows(
  layers: readonly LayerRows[],
  tokens: number,
  shape: Pick<ModelShape, 'layers' | 'kvHeads' | 'headDim' | 'batch'>,
  fed: ((layer: number) => number) | undefined,
): void {
  const { batch, kvHeads, headDim } = shape;
  if (!(Number.isSafeInteger(tokens) && tokens > 0)) {
    throw invalidShape(`tokens is ${tokens}; an append needs a whole number above 0.`);
  }
  if (layers.length !== shape.layers) {
    throw invalidShape(`got rows for ${layers.length} layers; this cache has ${shape.layers}.`);
  }
  const size = batch * kvHeads * tokens * headDim;
  layers.forEach(({ keys, values, attention }, layer) => {
    for (const [name, array] of [
      ['keys', keys],
      ['values', values],
    ] as const) {
      if (array.length === size) continue;
      throw invalidShape(
        `${name} of layer ${layer} hold ${array.length} numbers; [${batch}, ${kvHeads}, ${tokens}, ${headDim}] is ${size}.`,
      );
    }
    if (fed === undefined) return;
    if (attention === undefined) {
      throw invalidShape(
        `layer ${layer} came without attention, which this policy needs here; pass the attention each entry received.`,
      );
    }
    const width = fed(layer) + tokens;
    if (attention.length === batch * kvHeads * width) return;
    throw invalidShape(
      `attention of layer ${layer} holds ${attention.length} numbers; [${batch}, ${kvHeads}, ${width}] is ${batch * kvHeads * width}.`,
    );
  });
}

/** What one entry costs over all layers and sequences. */
export function bytesPerEntry({ layers, kvHeads, headDim, batch, format }: ModelShape): number {
  return layers * batch * kvHeads * bytesPerHead(format, headDim);
}

function otherModel(what: string): ElasticCacheError {
  return new ElasticCacheError('model-mismatch', `${what}; reset() it or use a new one.`);
}

export function invalidShape(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-shape', message);
}
