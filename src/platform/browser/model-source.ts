import { env } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import { givenOptions, isHubId, type ModelSource, type SourceOptions } from '../model-source.js';
import { addressesOf, placeOf } from './stored-files.js';

/**
 * A model by the name that it has for transformers.js: on the page's own server under `env.localModelPath`, where `env.allowLocalModels` says so, else on the Hub.
 * @throws ElasticCacheError `missing-file` for what is no such name
 */
export function modelSource(id: string, options: SourceOptions): ModelSource {
  if (isHubId(id)) return { ...givenOptions(options), id, local: false };
  throw new ElasticCacheError(
    'missing-file',
    `"${id}" is no model id of the form owner/name; for a model on your own server set env.localModelPath of transformers.js to its folder, and give the name in it.`,
  );
}

/** The address of a file: where it is kept, or else where it can be fetched. */
export async function locationOf(source: ModelSource, file: string): Promise<string> {
  const { local, remote } = addressesOf(source, file);
  return (await placeOf(source, file)) ?? (env.allowRemoteModels ? remote : local);
}
