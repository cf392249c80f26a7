import { env } from '@huggingface/transformers';
import type { ModelSource } from '../model-source.js';

/** The cache that transformers.js keeps files in, by their addresses. */
interface Store {
  match(address: string): Promise<Response | undefined>;
  put(address: string, response: Response): Promise<unknown>;
}

/** As transformers.js chooses it; undefined where there is none, or none that a page may use. */
export async function openStore(): Promise<Store | undefined> {
  if (env.useCustomCache && env.customCache) return env.customCache as Store;
  if (!env.useBrowserCache || typeof caches === 'undefined') return undefined;
  return caches.open(env.cacheKey).catch(() => undefined);
}

/** Where transformers.js looks for a file, first on the page's own server. */
export function addressesOf(
  { id, revision = 'main' }: ModelSource,
  file: string,
): { local: string; remote: string } {
  const path = env.remotePathTemplate
    .replaceAll('{model}', id)
    .replaceAll('{revision}', encodeURIComponent(revision));
  return { local: joined(env.localModelPath, id, file), remote: joined(env.remoteHost, path, file) };
}

function joined(...parts: readonly string[]): string {
  const inner = parts.map((part, index) => (index === 0 ? part : part.replace(/^\//, '')));
  return inner.map((part, index) => (index === inner.length - 1 ? part : part.replace(/\/$/, ''))).join('/');
}

/** A file that is kept, and the address that it is kept under. */
export async function storedFile(
  source: ModelSource,
  file: string,
): Promise<{ address: string; response: Response } | undefined> {
  const store = await openStore();
  const { local, remote } = addressesOf(source, file);
  for (const address of [local, remote]) {
    const response = await store?.match(address).catch(() => undefined);
    if (response) return { address, response };
  }
  return undefined;
}

/** Asks the page's own server for a file, with the first byte alone where it can; undefined where it has none or is not to be asked. */
export async function lookAtOwn(source: ModelSource, file: string): Promise<{ size?: number } | undefined> {
  if (!env.allowLocalModels) return undefined;
  const { local } = addressesOf(source, file);
  const response = await env.fetch(local, { headers: { Range: 'bytes=0-0' } }).catch(() => undefined);
  // One byte is read; more is not waited for.
  await (response?.status === 206 ? response.arrayBuffer() : response?.body?.cancel());
  // Servers of single-page applications give their page for whatever they do not have.
  if (!response?.ok || response.headers.get('content-type')?.startsWith('text/html')) return undefined;
  const total = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
  const size = response.status === 206 ? total : response.headers.get('content-length');
  return size ? { size: Number(size) } : {};
}

/** The address that a file is kept under, or that the page's own server has it at. */
export async function placeOf(source: ModelSource, file: string): Promise<string | undefined> {
  const stored = await storedFile(source, file);
  if (stored) return stored.address;
  return (await lookAtOwn(source, file)) && addressesOf(source, file).local;
}
