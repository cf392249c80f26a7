import { textOf } from '#platform/weights.js';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import type { ModelSource } from '../../platform/model-source.js';

const FILE = 'generation_config.json';

/**
 * What a model's `generation_config.json` says; empty where it has none. transformers.js reads it along with the sessions that
 * it opens itself, and a text model's only one is ours.
 * @throws ElasticCacheError `download-failed`, `invalid-model` when it is no JSON
 */
export async function generationConfig(source: ModelSource): Promise<object> {
  const text = await textOf(source, FILE);
  if (text === undefined) return {};
  try {
    return JSON.parse(text) as object;
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-model',
      `${FILE} of ${source.id} is not valid JSON (${reasonOf(cause)}); fetch it again, or delete it.`,
      { cause },
    );
  }
}
