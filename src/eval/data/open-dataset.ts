import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { readImage } from '../../models/images/read-image.js';
import type { BrokenRecord, DataOptions, Dataset, ParsedRecord, Sample } from './dataset.js';
import { readRecords } from './formats/read-records.js';
import { reasonOf } from './record.js';
import { inSplit } from './split.js';
import { openTexts } from './texts.js';

/**
 * The first records of a JSON or JSON Lines file in one of the formats, or of the texts of a folder.
 * @throws ElasticCacheError 'missing-file' or 'invalid-data'; a broken record is no error but named in `broken`
 */
export async function openDataset(source: string, options: DataOptions): Promise<Dataset> {
  const { count, images, promptTokens, split } = options;
  const there = await stat(source).catch(() => undefined);
  if (there?.isDirectory()) return openTexts(source, options);
  // A device need not end.
  if (there?.isCharacterDevice() || there?.isBlockDevice())
    throw new ElasticCacheError('missing-file', `data ${source} is a device; give a file.`);
  const bytes = await readFile(source).catch((cause: unknown) => {
    throw new ElasticCacheError(
      'missing-file',
      `data ${source} cannot be opened; give a JSON or JSON Lines file, a folder of texts, or "scenes" for the scenes that come with the package.`,
      { cause },
    );
  });
  // A TextDecoder leaves out the byte-order mark that some editors put in front.
  const records = await readRecords(source, new TextDecoder().decode(bytes));
  const folders = await imageFolders(source, images);
  const samples: Sample[] = [];
  const broken: BrokenRecord[] = [];
  for (const { name, line, parse } of records.filter((each) => inSplit(each.name, split)).slice(0, count)) {
    try {
      samples.push({ ...(await withImage(parse(promptTokens), folders)), line });
    } catch (error) {
      broken.push({ name, reason: reasonOf(error), line });
    }
  }
  const fingerprint = createHash('sha256').update(bytes).digest('hex');
  return { source: resolve(source), fingerprint, samples, broken };
}

async function imageFolders(source: string, images: string | undefined): Promise<string[]> {
  if (images === undefined) return [dirname(source), join(dirname(source), 'images')];
  if ((await stat(images).catch(() => undefined))?.isDirectory()) return [images];
  throw new ElasticCacheError('missing-file', `images ${images} is not a folder; check the path.`);
}

async function withImage(
  { name, image, context, tasks }: ParsedRecord,
  folders: readonly string[],
): Promise<Sample> {
  const sample = { name, tasks, ...(context === undefined ? {} : { context }) };
  if (image === undefined) return sample;
  if (image.startsWith('data:')) return { ...sample, image: () => readImage(image) };
  if (/^https?:/.test(image))
    throw new Error(
      `its image ${image} is on the web, from where none is fetched; save it and name the file`,
    );
  for (const folder of folders) {
    const path = resolve(folder, image.replace(/^file:\/\//, ''));
    if ((await stat(path).catch(() => undefined))?.isFile())
      return { ...sample, image: () => readImage(path) };
  }
  throw new Error(`its image ${image} is not in ${folders.join(' or ')}`);
}
