import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { env, type ProgressCallback } from '@huggingface/transformers';
import { ElasticCacheError } from '../../errors.js';

/** Where the files of a model come from, as transformers.js names it. */
export interface SourceOptions {
  /** Branch, tag or commit of a model on the Hub. Default `main`. */
  revision?: string;
  /** Where downloads are kept. Default: transformers.js's `env.cacheDir`. */
  cache_dir?: string;
  /** Never ask the network. */
  local_files_only?: boolean;
  /** Called with transformers.js's progress events, file by file. */
  progress_callback?: ProgressCallback;
}

/** A model by Hub id or directory, and how its files are reached. */
export interface ModelSource extends SourceOptions {
  /** A Hub id, or the absolute path of a directory. */
  id: string;
  local: boolean;
}

const HUB_ID = /^[\w.-]+(\/[\w.-]+)?$/;

/**
 * Tells a directory from a Hub id; a directory wins.
 * Throws `missing-file` for a path where there is no model directory.
 */
export function modelSource(idOrDirectory: string, options: SourceOptions): ModelSource {
  const { revision, cache_dir, local_files_only, progress_callback } = options;
  const given: SourceOptions = {
    ...(revision === undefined ? {} : { revision }),
    ...(cache_dir === undefined ? {} : { cache_dir }),
    ...(local_files_only === undefined ? {} : { local_files_only }),
    ...(progress_callback === undefined ? {} : { progress_callback }),
  };
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
  if (!HUB_ID.test(idOrDirectory) || idOrDirectory.startsWith('.')) {
    throw new ElasticCacheError(
      'missing-file',
      `"${idOrDirectory}" is neither a directory nor a model id of the form owner/name; check the path.`,
    );
  }
  return { ...given, id: idOrDirectory, local: false };
}

/** Whether files are only looked for on this machine. */
export function isOffline({ local, local_files_only }: ModelSource): boolean {
  return local || local_files_only === true || !env.allowRemoteModels;
}

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

/** As {@link foundOnDisk}. Throws `missing-file` when it is in none of these. */
export function pathOnDisk(source: ModelSource, file: string): string {
  const found = foundOnDisk(source, file);
  if (found !== undefined) return found;
  throw new ElasticCacheError(
    'missing-file',
    `${file} of ${source.id} is not on disk; looked in: ${placesOf(source, file).join(', ')}.`,
  );
}

function placesOf(source: ModelSource, file: string): string[] {
  const { id, local } = source;
  return local ? [join(id, file)] : [cachePath(source, file), join(env.localModelPath, id, file)];
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
