import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ElasticCacheError } from '../../errors.js';
import { readImage } from '../../models/images/read-image.js';
import type { BrokenRecord, DataOptions, Dataset, ParsedRecord, Sample } from './dataset.js';
import { parseLine } from './json-lines.js';
import { parseLlava } from './llava.js';
import { parseMmVet } from './mm-vet.js';
import { reasonOf } from './record.js';
import { inSplit } from './split.js';
import { openTexts } from './texts.js';

/** A record with the name that the file gives it. */
interface RawRecord {
  name: string;
  record: unknown;
}

/**
 * The first records of a JSON file in LLaVA's or MM-Vet's format, of a JSON Lines file, or of the texts of a folder.
 * @throws ElasticCacheError 'missing-file' or 'invalid-data'; a broken record is no error but named in `broken`
 */
export async function openDataset(source: string, options: DataOptions): Promise<Dataset> {
  const { count, images, promptTokens, split } = options;
  if ((await stat(source).catch(() => undefined))?.isDirectory()) return openTexts(source, options);
  const bytes = await readFile(source).catch((cause: unknown) => {
    throw new ElasticCacheError(
      'missing-file',
      `data ${source} cannot be opened; give a JSON or JSON Lines file, a folder of texts, or "scenes" for the scenes that come with the package.`,
      { cause },
    );
  });
  // A TextDecoder leaves out the byte-order mark that some editors put in front.
  const { records, parse } = recordsOf(source, new TextDecoder().decode(bytes));
  const folders = await imageFolders(source, images);
  const samples: Sample[] = [];
  const broken: BrokenRecord[] = [];
  for (const { name, record } of records.filter((each) => inSplit(each.name, split)).slice(0, count)) {
    try {
      samples.push(await withImage(parse(record, name, promptTokens), folders));
    } catch (error) {
      broken.push({ name, reason: reasonOf(error) });
    }
  }
  const fingerprint = createHash('sha256').update(bytes).digest('hex');
  return { source: resolve(source), fingerprint, samples, broken };
}

/** The records of a file and the parser of its format: of a JSON file, a list is LLaVA's and an object MM-Vet's. */
function recordsOf(
  source: string,
  text: string,
): { records: RawRecord[]; parse: (record: unknown, name: string, promptTokens?: number) => ParsedRecord } {
  if (/\.(jsonl|ndjson)$/i.test(source)) return { records: linesOf(source, text), parse: parseLine };
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new ElasticCacheError('invalid-data', `data ${source} is no JSON (${reasonOf(cause)}).`, { cause });
  }
  if (Array.isArray(content) && content.length > 0) return { records: named(content), parse: parseLlava };
  if (content !== null && typeof content === 'object' && Object.keys(content).length > 0) {
    const records = Object.entries(content).map(([name, record]) => ({ name, record }));
    return { records, parse: parseMmVet };
  }
  throw new ElasticCacheError(
    'invalid-data',
    `data ${source} holds no records; give a list as LLaVA's detail_1k.json or an object as mm-vet.json.`,
  );
}

function linesOf(source: string, text: string): RawRecord[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new ElasticCacheError('invalid-data', `data ${source} holds no records.`);
  return named(
    lines.map((line) => {
      try {
        return JSON.parse(line);
      } catch {
        // What is no JSON is a broken record like any other.
        return line;
      }
    }),
  );
}

/** Names records by their ids, and by their place where there is none or it is taken. */
function named(records: readonly unknown[]): RawRecord[] {
  const taken = new Set<string>();
  return records.map((record, index) => {
    const id = (record as { id?: unknown } | null)?.id;
    const place = `record ${index + 1}`;
    const known = typeof id === 'string' || typeof id === 'number';
    const name = !known ? place : taken.has(String(id)) ? `${id}, ${place}` : String(id);
    taken.add(name);
    return { name, record };
  });
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
  for (const folder of folders) {
    const path = join(folder, image);
    if ((await stat(path).catch(() => undefined))?.isFile())
      return { ...sample, image: () => readImage(path) };
  }
  throw new Error(`its image ${image} is not in ${folders.join(' or ')}`);
}
