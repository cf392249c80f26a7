import { env } from '@huggingface/transformers';
import { accessToken } from '#platform/machine.js';
import { ElasticCacheError, reasonOf } from '../errors.js';
import type { ModelSource, RemoteFile } from './model-source.js';

/**
 * Asks the Hub for a file without fetching it; undefined when the repository has none of that name.
 * Throws `download-failed` when it cannot be reached or does not let us, `missing-file` when there is no such model or revision.
 */
export async function lookAt(source: ModelSource, file: string): Promise<RemoteFile | undefined> {
  const response = await request(source, file, { Range: 'bytes=0-0' });
  await response.body?.cancel();
  // An empty file has no first byte.
  if (response.status === 416) return { size: 0, etag: undefined };
  if (response.status === 404 && !/^(Repo|Revision)NotFound$/.test(errorCode(response))) return undefined;
  refuse(source, file, response);
  const etag = response.headers.get('etag');
  const total = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
  const length = response.status === 206 ? total : response.headers.get('content-length');
  // A weak tag names files that are alike, not the same.
  return {
    size: length ? Number(length) : undefined,
    etag: etag && !etag.startsWith('W/') ? etag : undefined,
  };
}

/** Requests a file as transformers.js does: same address, same function, same token. Throws `download-failed` without an answer. */
export async function request(
  source: ModelSource,
  file: string,
  headers: Record<string, string>,
): Promise<Response> {
  const url = addressOf(source, file);
  const token = accessToken();
  const own = ['huggingface.co', 'hf.co'].includes(new URL(url).hostname);
  try {
    return await env.fetch(url, {
      headers: { ...headers, ...(own && token ? { Authorization: `Bearer ${token}` } : {}) },
      cache: 'no-store',
    });
  } catch (cause) {
    throw new ElasticCacheError(
      'download-failed',
      `${file} of ${source.id} cannot be fetched from ${new URL(url).host} (${networkReason(cause)}); check the connection.`,
      { cause },
    );
  }
}

/** Throws what an answer that brings no file means. */
export function refuse(source: ModelSource, file: string, response: Response): void {
  if (response.ok) return;
  const { id, revision = 'main' } = source;
  const code = errorCode(response);
  if (code === 'RevisionNotFound') {
    throw new ElasticCacheError(
      'missing-file',
      `${id} has no revision "${revision}"; give a branch, tag or commit that its page lists.`,
    );
  }
  if (response.status === 401 || response.status === 403 || code === 'RepoNotFound') {
    throw new ElasticCacheError(
      'download-failed',
      `${id} is gated, private or does not exist (status ${response.status} for ${file}); check the id, accept its terms on its page, and set HF_TOKEN to an access token.`,
    );
  }
  throw new ElasticCacheError(
    response.status === 404 ? 'missing-file' : 'download-failed',
    response.status === 404
      ? `${id} has no ${file} at revision "${revision}"; check the id and the revision.`
      : `${file} of ${id} cannot be fetched (status ${response.status}); try again later.`,
  );
}

/** What broke a connection; fetch itself only says that it failed. */
export function networkReason(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return reasonOf(inner);
}

/** The Hub's own word for what is wrong. */
function errorCode(response: Response): string {
  return response.headers.get('x-error-code') ?? '';
}

function addressOf({ id, revision = 'main' }: ModelSource, file: string): string {
  const path = env.remotePathTemplate
    .replaceAll('{model}', id)
    .replaceAll('{revision}', encodeURIComponent(revision));
  return [env.remoteHost, path, file].map((part) => part.replace(/^\/|\/$/g, '')).join('/');
}
