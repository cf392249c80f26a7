import { env } from '@huggingface/transformers';
import { ElasticCacheError, reasonOf } from '../../errors.js';
import { bytesNeeded, weightSamples } from '../../graph/onnx/external-files.js';
import type { Model } from '../../graph/onnx/onnx.js';
import type { GraphFile, Settled } from '../graph-file.js';
import { openStore } from './stored-files.js';

/**
 * Opens a graph by its address, from transformers.js's cache where it is kept there; the files of its weights lie beside it. What is opened is a Blob: the browser has its bytes,
 * on disk where they are kept, and only those that are read come into memory.
 * @throws ElasticCacheError `missing-file`, `download-failed`
 */
export async function openGraphFile(address: string): Promise<GraphFile> {
  const name = address.slice(address.lastIndexOf('/') + 1);
  const blob = await blobAt(address);
  const blobs = new Map([[name, blob]]);
  return {
    name,
    source: { size: blob.size, read: (offset, length) => bytesOf(blob, offset, length) },
    settle: (model) => settle(model, address, blobs),
    close: async () => blobs.clear(),
  };
}

/** ONNX Runtime reads each file whole while it opens the session, takes what it needs, and lets it go. */
async function settle(model: Model, address: string, blobs: Map<string, Blob>): Promise<Settled> {
  const folder = address.slice(0, address.lastIndexOf('/') + 1);
  for (const [location, end] of bytesNeeded(model)) {
    const blob = blobs.get(location) ?? (await blobAt(folder + location));
    blobs.set(location, blob);
    if (end <= blob.size) continue;
    throw new ElasticCacheError(
      'invalid-model',
      `${folder + location} has ${blob.size} bytes, but the model's weights reach to byte ${end}: the file is incomplete; fetch it again.`,
    );
  }
  const samples = await weightSamples(model, (location, offset, length) =>
    bytesOf(blobs.get(location)!, offset, length),
  );
  const externalData = Array.from(blobs, ([path, data]) => ({ path, data }));
  return { samples, options: { externalData } };
}

async function bytesOf(blob: Blob, offset: number, length: number): Promise<Uint8Array> {
  return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
}

async function blobAt(address: string): Promise<Blob> {
  const store = await openStore();
  const kept = await store?.match(address).catch(() => undefined);
  if (kept) return kept.blob();
  const response = await env.fetch(address).catch((cause: unknown) => {
    throw new ElasticCacheError(
      'download-failed',
      `${address} cannot be fetched (${reasonOf(cause)}); check the connection.`,
      { cause },
    );
  });
  if (response.ok) return response.blob();
  throw new ElasticCacheError(
    'missing-file',
    `${address} cannot be opened (status ${response.status}); check the model.`,
  );
}
