import type { CachePolicy } from '../cache/policy.js';
import { elastic } from './elastic.js';
import { checkOptions, type PolicyOptions } from './options.js';

/**
 * PrefixKV (Wang et al., NeurIPS 2025, arXiv 2412.03409, section 3): the tokens with the most attention are kept, the others dropped, and each layer gets
 * as many entries as make the same share of its importance in all layers; the mean over the layers is the budget. The paper finds the shares on a
 * few samples beforehand; here they are found on the prompt itself, which needs no calibration data.
 *
 * Decode: as released, the entry at Elastic Cache's fixed point goes; each layer's part of the budget stays what it was.
 * @throws ElasticCacheError 'invalid-option'
 */
export function prefixkv(options: PolicyOptions = {}): CachePolicy {
  const { startSize, distance } = checkOptions(options);
  return { ...elastic({ startSize, distance, merging: 'none', layerBudgets: 'adaptive' }), name: 'prefixkv' };
}
