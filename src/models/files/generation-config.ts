import { readFile } from 'node:fs/promises';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import { fetchFile } from './download.js';
import { lookAt } from './hub-file.js';
import { foundOnDisk, isOffline, type ModelSource, pathOnDisk } from './model-source.js';

const FILE = 'generation_config.json';

/**
 * What a model's `generation_config.json` says; empty where it has none. transformers.js reads it along with the sessions that
 * it opens itself, and a text model's only one is ours.
 * @throws ElasticCacheError `download-failed`, `invalid-model` when it is no JSON
 */
export async function generationConfig(source: ModelSource): Promise<object> {
  if (foundOnDisk(source, FILE) === undefined) {
    const remote = isOffline(source) ? undefined : await lookAt(source, FILE);
    if (!remote) return {};
    await fetchFile(source, FILE, remote, () => {});
  }
  const path = pathOnDisk(source, FILE);
  try {
    return JSON.parse(await readFile(path, 'utf8')) as object;
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-model',
      `${path} is not valid JSON (${reasonOf(cause)}); fetch it again, or delete it.`,
      { cause },
    );
  }
}
