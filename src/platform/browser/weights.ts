import { env } from '@huggingface/transformers';
import { lookAt, refuse, request } from '../hub-file.js';
import { isOffline, type ModelSource, type WeightFile } from '../model-source.js';
import { addressesOf, lookAtOwn, openStore, placeOf, storedFile } from './stored-files.js';

/** A file's size, wherever it is; undefined when the model has none of that name. */
export async function findWeights(source: ModelSource, file: string): Promise<WeightFile | undefined> {
  const stored = await storedFile(source, file);
  if (stored) return { file, size: await sizeOf(stored.response) };
  const own = await lookAtOwn(source, file);
  if (own) return { file, size: own.size };
  if (isOffline(source)) return undefined;
  const remote = await lookAt(source, file);
  return remote && { file, size: remote.size, remote };
}

async function sizeOf(response: Response): Promise<number> {
  const length = response.headers.get('content-length');
  return length ? Number(length) : (await response.blob()).size;
}

/** Nothing to do: the browser keeps whole files alone. */
export async function dropDamaged(
  _source: ModelSource,
  _graphs: readonly string[],
  _all: readonly string[],
): Promise<void> {}

/**
 * Fetches what is not kept yet into transformers.js's cache, without bringing it into memory, and reports it as transformers.js does, file by file and in all. Where there is no
 * cache, or no room in it, a file is fetched when it is opened.
 * @throws ElasticCacheError `download-failed`, `missing-file`
 */
export async function fetchWeights(source: ModelSource, files: readonly WeightFile[]): Promise<void> {
  const { id: name, progress_callback: tell } = source;
  const state = Object.fromEntries(files.map(({ file, size }) => [file, { loaded: 0, total: size ?? 0 }]));
  for (const { file, size } of files) {
    tell?.({ status: 'initiate', name, file });
    tell?.({ status: 'download', name, file });
    const report = (loaded: number) => {
      const total = size ?? loaded;
      state[file] = { loaded, total };
      tell?.({ status: 'progress', name, file, progress: percent(loaded, total), loaded, total });
      const sum = (part: 'loaded' | 'total') =>
        Object.values(state).reduce((all, each) => all + each[part], 0);
      const whole = { loaded: sum('loaded'), total: sum('total') };
      const progress = percent(whole.loaded, whole.total);
      tell?.({ status: 'progress_total', name, progress, ...whole, files: structuredClone(state) });
    };
    await keep(source, file, report);
    report(size ?? state[file]!.loaded);
    tell?.({ status: 'done', name, file });
  }
}

function percent(loaded: number, total: number): number {
  return total > 0 ? (loaded / total) * 100 : 100;
}

async function keep(source: ModelSource, file: string, report: (loaded: number) => void): Promise<void> {
  const store = await openStore();
  if (!store || (await storedFile(source, file))) return;
  const { local, remote } = addressesOf(source, file);
  const isOwn = (await lookAtOwn(source, file)) !== undefined;
  const response = isOwn ? await env.fetch(local) : await request(source, file, {});
  refuse(source, file, response);
  let loaded = 0;
  const counted = response.body!.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(part, controller) {
        loaded += part.length;
        report(loaded);
        controller.enqueue(part);
      },
    }),
  );
  const { headers } = response;
  await store.put(isOwn ? local : remote, new Response(counted, { headers })).catch(() => {});
}

/** The text of a small file of a model; undefined where the model has none of that name. @throws ElasticCacheError `download-failed` */
export async function textOf(source: ModelSource, file: string): Promise<string | undefined> {
  const stored = await storedFile(source, file);
  if (stored) return stored.response.text();
  const place = await placeOf(source, file);
  if (place !== undefined) return (await env.fetch(place)).text();
  if (isOffline(source) || !(await lookAt(source, file))) return undefined;
  const response = await request(source, file, {});
  refuse(source, file, response);
  return response.text();
}
