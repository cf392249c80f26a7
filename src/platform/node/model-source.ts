import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { givenOptions, isHubId, type ModelSource, type SourceOptions } from '../model-source.js';
import { foundOnDisk, placesOf } from './places.js';

/**
 * Tells a directory from a Hub id; a directory wins.
 * Throws `missing-file` for a path where there is no model directory.
 */
export function modelSource(idOrDirectory: string, options: SourceOptions): ModelSource {
  const given = givenOptions(options);
  if (isDirectory(idOrDirectory)) {
    const id = resolve(idOrDirectory);
    if (!existsSync(join(id, 'config.json'))) {
      throw new ElasticCacheError(
        'missing-file',
        `${id} holds no config.json, so it is not a model directory; give the directory that config.json and onnx/ lie in.`,
      );
    }
    return { ...given, id, local: true, local_files_only: true };
  }
  if (existsSync(idOrDirectory)) {
    throw new ElasticCacheError(
      'missing-file',
      `"${idOrDirectory}" is a file and no model directory; give the directory that config.json and onnx/ lie in.`,
    );
  }
  if (!isHubId(idOrDirectory)) {
    throw new ElasticCacheError(
      'missing-file',
      `"${idOrDirectory}" is neither a directory nor a model id of the form owner/name; check the path.`,
    );
  }
  return { ...given, id: idOrDirectory, local: false };
}

/** Where a file lies that is here: its path, as {@link foundOnDisk}. Throws `missing-file` when it is in none of these. */
export async function locationOf(source: ModelSource, file: string): Promise<string> {
  const found = foundOnDisk(source, file);
  if (found !== undefined) return found;
  throw new ElasticCacheError(
    'missing-file',
    `${file} of ${source.id} is not on disk; looked in: ${placesOf(source, file).join(', ')}.`,
  );
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
