import type { PretrainedConfig } from '@huggingface/transformers';
import { ElasticCacheError } from '../errors.js';

/** Counts in a config, and what is beyond any model: transformers.js makes names for each before it opens a file. */
const LIMITS: readonly [name: RegExp, least: number, most: number][] = [
  [/^num_(hidden_|key_value_|attention_)?(layers|heads)$/, 0, 10_000],
  // Of these some count from the end.
  [/layers?$|_heads$|^n_head/, Number.NEGATIVE_INFINITY, 10_000],
  [/^use_external_data_format$/, 0, 1000],
];
/** What names a token. */
const TOKEN = /^(image|video|audio)_token_(id|index)$/;
/** How deep a config may be nested. */
const DEEPEST = 20;

/**
 * Refuses a config whose numbers no model has, before anybody counts to them.
 * @throws ElasticCacheError 'invalid-model' with the number's name
 */
export function refuseHostileConfig(id: string, config: PretrainedConfig): void {
  look(config, '', 0);

  function look(part: unknown, path: string, depth: number): void {
    if (depth > DEEPEST || typeof part !== 'object' || part === null) return;
    for (const [name, value] of Object.entries(part)) {
      const [, least, most] = LIMITS.find(([pattern]) => pattern.test(name)) ?? [];
      for (const number of [value].flat(1)) {
        const isBeyond =
          most !== undefined && typeof number === 'number' && !(number >= least! && number <= most);
        const isNoToken =
          TOKEN.test(name) && number !== null && number !== undefined && !Number.isSafeInteger(number);
        if (!isBeyond && !isNoToken) continue;
        const wanted = !isBeyond
          ? 'a whole number'
          : (number as number) < least!
            ? `${least} at least`
            : `${most} at most`;
        throw new ElasticCacheError(
          'invalid-model',
          `${path}${name} in config.json of ${id} is ${String(number)}, and must be ${wanted}; fetch it again.`,
        );
      }
      look(value, `${path}${name}.`, depth + 1);
    }
  }
}
