import { ElasticCacheError } from '../errors.js';

/** The options of the policies; each reads those it has a use for, all are checked. */
export interface PolicyOptions {
  /** First tokens of the prompt that are always kept; 1 unless told. */
  readonly startSize?: number;
  /**
   * elastic: last tokens of the prompt that are always anchors; 1 unless told (the paper). As many as stand after the image
   * keep the question whole: summed over queries, importance favours early tokens, and the question comes last.
   */
  readonly endSize?: number;
  /** elastic: where entries are removed while decoding, counted from the end of the compressed prompt (negative, -25 unless told) or from its start (positive). */
  readonly distance?: number;
}

/** @throws ElasticCacheError 'invalid-option' */
export function checkOptions({
  startSize = 1,
  endSize = 1,
  distance = -25,
}: PolicyOptions): Required<PolicyOptions> {
  if (!(Number.isSafeInteger(startSize) && startSize >= 0)) {
    throw new ElasticCacheError(
      'invalid-option',
      `startSize is ${startSize}; it must be a whole number of tokens, 0 or more.`,
    );
  }
  if (!(Number.isSafeInteger(endSize) && endSize >= 1)) {
    throw new ElasticCacheError(
      'invalid-option',
      `endSize is ${endSize}; it must be a whole number of tokens, 1 or more.`,
    );
  }
  if (!(Number.isSafeInteger(distance) && distance !== 0)) {
    throw new ElasticCacheError(
      'invalid-option',
      `distance is ${distance}; it must be a whole number other than 0, for example -25: 25 entries before the end of the compressed prompt.`,
    );
  }
  return { startSize, endSize, distance };
}
