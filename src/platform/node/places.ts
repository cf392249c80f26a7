import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { env } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';
import type { ModelSource } from '../model-source.js';

/**
 * Where transformers.js keeps downloads. Throws `invalid-option` when it is set to keep none as files: weights are mapped
 * from files.
 */
export function cacheFolder({ cache_dir }: ModelSource): string {
  const folder = cache_dir ?? env.cacheDir;
  if (folder && env.useFSCache && !env.useCustomCache) return folder;
  throw new ElasticCacheError(
    'invalid-option',
    'transformers.js is set to keep no downloads as files (env.useFSCache, env.useCustomCache), which weights are mapped from; leave these as they are, or give the directory of a model.',
  );
}

/** The path of a file of the Hub in that folder, whether it is there or not. */
export function cachePath(source: ModelSource, file: string): string {
  const { id, revision = 'main' } = source;
  return join(cacheFolder(source), id, revision === 'main' ? '' : revision, file);
}

/** The path of a file in the model's directory, in the cache folder or among transformers.js's local models. */
export function foundOnDisk(source: ModelSource, file: string): string | undefined {
  return placesOf(source, file).find((place) => existsSync(place));
}

/** Where a file of a model may lie. */
export function placesOf(source: ModelSource, file: string): string[] {
  const { id, local } = source;
  return local ? [join(id, file)] : [cachePath(source, file), join(env.localModelPath, id, file)];
}
