import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import type { DataOptions, Dataset, Sample } from './dataset.js';
import { longText } from './formats/json-lines.js';
import { inSplit } from './split.js';

/**
 * The first texts of a folder, its .txt and .md files in the order of their names: each is read for 1,024 tokens, or as many as is said, and perplexity is measured on
 * the 64 that follow.
 * @throws ElasticCacheError 'invalid-data' when there are none
 */
export async function openTexts(
  folder: string,
  { count, promptTokens, split }: DataOptions,
): Promise<Dataset> {
  const files = (await readdir(folder)).filter((file) => /\.(txt|md)$/i.test(file)).sort();
  if (files.length === 0) {
    throw new ElasticCacheError(
      'invalid-data',
      `data ${folder} holds no .txt or .md files; give a folder of texts, or a file.`,
    );
  }
  const hash = createHash('sha256');
  const samples: Sample[] = [];
  for (const file of files.filter((name) => inSplit(name, split)).slice(0, count)) {
    const bytes = await readFile(join(folder, file));
    hash.update(bytes);
    samples.push({ name: file, tasks: [longText(new TextDecoder().decode(bytes).trim(), promptTokens)] });
  }
  return { source: resolve(folder), fingerprint: hash.digest('hex'), samples, broken: [] };
}
