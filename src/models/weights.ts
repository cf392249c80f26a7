import { existsSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { ElasticCacheError } from '../errors.js';
import { readSkeleton } from '../graph/skeleton.js';
import { settleExternalWeights } from '../runtime/external-weights.js';
import { FileSource } from '../runtime/file-source.js';
import { fetchFile, partPath } from './download.js';
import { lookAt, type RemoteFile } from './hub-file.js';
import { cacheFolder, cachePath, foundOnDisk, isOffline, type ModelSource } from './model-source.js';
import { diskLeft, sizeName } from './sizes.js';

/** One of the files that hold a model's graphs and weights. */
export interface WeightFile {
  /** Relative to the model: `onnx/decoder_model_merged.onnx_data`. */
  file: string;
  /** Bytes, where they are known. */
  size: number | undefined;
  /** Where it is yet to be fetched. */
  remote?: RemoteFile;
}

/** A file's place and size, wherever it is; undefined when the model has none of that name. */
export async function findWeights(source: ModelSource, file: string): Promise<WeightFile | undefined> {
  const path = foundOnDisk(source, file);
  if (path !== undefined) return { file, size: (await stat(path)).size };
  if (isOffline(source)) return undefined;
  const remote = await lookAt(source, file);
  return remote && { file, size: remote.size, remote };
}

/**
 * Removes from the cache folder what an earlier download left there as a file and is none, with the weights beside it.
 * @param graphs the ONNX files
 */
export async function dropDamaged(
  source: ModelSource,
  graphs: readonly string[],
  all: readonly string[],
): Promise<void> {
  if (isOffline(source)) return;
  for (const graph of graphs) {
    const parts = all.filter((file) => file === graph || file.startsWith(`${graph}_data`));
    const cached = parts.map((file) => cachePath(source, file));
    if (!cached.every((path) => existsSync(path)) || (await damage(cached[0]!)) === undefined) continue;
    for (const path of cached) await rm(path);
  }
}

/**
 * Fetches what is not here yet and reports it as transformers.js does, file by file and in all.
 * @throws ElasticCacheError `out-of-space` before anything is fetched, `download-failed`
 */
export async function fetchWeights(source: ModelSource, files: readonly WeightFile[]): Promise<void> {
  await refuseFullDisk(source, files);
  const { id: name, progress_callback: tell } = source;
  const state = Object.fromEntries(files.map(({ file, size }) => [file, { loaded: 0, total: size ?? 0 }]));
  for (const { file, size, remote } of files) {
    tell?.({ status: 'initiate', name, file });
    tell?.({ status: 'download', name, file });
    const report = (loaded: number) => {
      const total = size ?? loaded;
      state[file] = { loaded, total };
      tell?.({
        status: 'progress',
        name,
        file,
        progress: total ? (loaded / total) * 100 : 100,
        loaded,
        total,
      });
      const sum = (part: 'loaded' | 'total') =>
        Object.values(state).reduce((all, each) => all + each[part], 0);
      const whole = { loaded: sum('loaded'), total: sum('total') };
      const progress = whole.total ? (whole.loaded / whole.total) * 100 : 100;
      tell?.({ status: 'progress_total', name, progress, ...whole, files: structuredClone(state) });
    };
    if (remote) await fetchFile(source, file, remote, report);
    else report(size ?? 0);
    tell?.({ status: 'done', name, file });
  }
  const fetched = files.filter(({ remote }) => remote).map(({ file }) => file);
  for (const file of fetched.filter((each) => each.endsWith('.onnx'))) {
    const path = cachePath(source, file);
    const reason = await damage(path);
    if (reason === undefined) continue;
    await rm(path);
    throw new ElasticCacheError(
      'download-failed',
      `${file} of ${name} came incomplete or damaged and was removed; load again to fetch it (${reason})`,
    );
  }
}

async function refuseFullDisk(source: ModelSource, files: readonly WeightFile[]): Promise<void> {
  let needed = 0;
  for (const { file, size, remote } of files) {
    if (!remote) continue;
    const part = await stat(partPath(cachePath(source, file), remote)).catch(() => undefined);
    needed += (size ?? 0) - (part?.size ?? 0);
  }
  if (needed <= 0) return;
  const folder = cacheFolder(source);
  const free = await diskLeft(folder);
  if (needed <= free) return;
  throw new ElasticCacheError(
    'out-of-space',
    `${source.id} needs ${sizeName(needed)} more on the disk of ${folder}, where ${sizeName(free)} are free; free some space, set cache_dir to another disk, or choose a smaller dtype.`,
  );
}

/**
 * What is wrong with an ONNX file or the weights beside it; undefined when nothing is, or when it names weights in a file that
 * the model does not list, which fetching it again would not bring. Only the graph is read.
 */
async function damage(path: string): Promise<string | undefined> {
  const file = await FileSource.open(path);
  try {
    await settleExternalWeights(await readSkeleton(file, basename(path)), dirname(path));
    return undefined;
  } catch (cause) {
    if (!(cause instanceof ElasticCacheError)) throw cause;
    return cause.code === 'missing-file' ? undefined : cause.message;
  } finally {
    await file.close();
  }
}
