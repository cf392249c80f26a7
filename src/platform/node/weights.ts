import { existsSync } from 'node:fs';
import { readFile, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join, posix } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { bytesNeeded } from '../../graph/onnx/external-files.js';
import { readSkeleton } from '../../graph/onnx/skeleton.js';
import { sizeName } from '../../size-name.js';
import { lookAt } from '../hub-file.js';
import { isOffline, type ModelSource, type WeightFile } from '../model-source.js';
import { fetchFile, partPath } from './download.js';
import { settleExternalWeights } from './external-weights.js';
import { FileSource } from './files/file-source.js';
import { locationOf } from './model-source.js';
import { cacheFolder, cachePath, foundOnDisk } from './places.js';

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
    const cached = all.filter((file) => isPartOf(graph, file)).map((file) => cachePath(source, file));
    if (!cached.every((path) => existsSync(path)) || !(await damage(source, graph))) continue;
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
  for (const { file: graph } of files.filter(({ file }) => file.endsWith('.onnx'))) {
    const isNew = fetched.some((file) => isPartOf(graph, file));
    if (!isNew || !existsSync(cachePath(source, graph))) continue;
    const found = await damage(source, graph);
    if (found) await removeDamaged(source, graph, found);
  }
}

/** Whether a file is a graph's own or one of those that its weights lie in. */
function isPartOf(graph: string, file: string): boolean {
  return file === graph || file.startsWith(`${graph}_data`);
}

/** The graph goes with the weights: either may be the one that is of another time. */
async function removeDamaged(source: ModelSource, graph: string, { reason, short }: Damage): Promise<never> {
  const removed = [graph, ...short];
  for (const file of removed) await rm(cachePath(source, file), { force: true });
  const [were, them] = removed.length > 1 ? ['were', 'them'] : ['was', 'it'];
  throw new ElasticCacheError(
    'download-failed',
    `${removed.join(' and ')} of ${source.id} came incomplete or damaged and ${were} removed; load again to fetch ${them} (${reason})`,
  );
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

/** What is wrong with an ONNX file or the weights beside it. */
interface Damage {
  reason: string;
  /** Files of its weights, relative to the model, that end before the last of these. */
  short: string[];
}

/**
 * Undefined when nothing is wrong, or when a graph in the cache folder names weights in a file that the model does not list,
 * which fetching it again would not bring. Only the graph is read.
 */
async function damage(source: ModelSource, graph: string): Promise<Damage | undefined> {
  const path = cachePath(source, graph);
  const file = await FileSource.open(path);
  const short: string[] = [];
  try {
    const model = await readSkeleton(file, basename(path));
    for (const [location, bytes] of bytesNeeded(model)) {
      const beside = await stat(join(dirname(path), location)).catch(() => undefined);
      if (beside && beside.size < bytes) short.push(posix.join(posix.dirname(graph), location));
    }
    await settleExternalWeights(model, dirname(path));
    return undefined;
  } catch (cause) {
    if (!(cause instanceof ElasticCacheError)) throw cause;
    return cause.code === 'missing-file' ? undefined : { reason: cause.message, short };
  } finally {
    await file.close();
  }
}

/**
 * The text of a small file of a model, fetched where it is not here yet; undefined where the model has none of that name.
 * @throws ElasticCacheError `download-failed`
 */
export async function textOf(source: ModelSource, file: string): Promise<string | undefined> {
  if (foundOnDisk(source, file) === undefined) {
    const remote = isOffline(source) ? undefined : await lookAt(source, file);
    if (!remote) return undefined;
    await fetchFile(source, file, remote, () => {});
  }
  return readFile(await locationOf(source, file), 'utf8');
}

/** Bytes free on the disk of a folder, which need not exist yet. */
async function diskLeft(folder: string): Promise<number> {
  let place = folder;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  const { bavail, bsize } = await statfs(place);
  return bavail * bsize;
}
