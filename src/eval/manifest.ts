import { createHash } from 'node:crypto';
import { open, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError } from '../errors.js';
import { makeFolder } from '../make-folder.js';
import { ANSWERS, FIRST_TOKENS, IMAGE_PLACES, LAST_TOKENS, QUESTIONS } from './data/protocol.js';
import { orUndefined, readIfThere, refused } from './disk.js';

/** What all lines of a folder have in common. Samples, policies, budgets and shapes may be added later: each line names its own. */
const Manifest = z.object({
  model: z.string(),
  /** Of a model on disk; empty for one of the Hub. */
  modelHash: z.string(),
  dtype: z.string(),
  device: z.string(),
  chunk: z.int(),
  /** How prompts are read. */
  peak: z.string(),
  /** Of int4 weights; 0 for the file's own. */
  accuracyLevel: z.int(),
  data: z.string(),
  dataHash: z.string(),
  images: z.string(),
  /** Half of the data; empty for all. */
  split: z.string(),
  /** Of texts that are gone on with; 0 unless told. */
  promptTokens: z.int(),
  /** What is known when the cache is compressed. */
  question: z.enum(QUESTIONS),
  /** How records are shown, and which tokens count. */
  system: z.string(),
  imagePlace: z.enum(IMAGE_PLACES),
  padImages: z.boolean(),
  answers: z.enum(ANSWERS),
  firstToken: z.enum(FIRST_TOKENS),
  lastToken: z.enum(LAST_TOKENS),
  metrics: z.string(),
  maxNewTokens: z.int(),
  version: z.string(),
});
export type Manifest = z.infer<typeof Manifest>;

const NAMES: Record<keyof Manifest, string> = {
  model: 'model',
  modelHash: 'state of the model',
  dtype: '--dtype',
  device: '--device',
  chunk: '--chunk',
  peak: '--peak',
  accuracyLevel: '--accuracy-level',
  data: 'data',
  dataHash: 'state of the data',
  images: '--images',
  split: '--split',
  promptTokens: '--prompt-tokens',
  question: '--question',
  system: '--system',
  imagePlace: '--image-place',
  padImages: '--pad-images',
  answers: '--answers',
  firstToken: '--first-token',
  lastToken: '--last-token',
  metrics: '--metrics',
  maxNewTokens: '--max-new-tokens',
  version: 'version of elastic-cache',
};

/**
 * Makes the folder of a run, or finds it and checks that what it holds was made in the same way.
 * @throws ElasticCacheError 'invalid-option' when it holds another run, with the first difference, or other files, or cannot be
 *   read or written
 */
export async function claimFolder(folder: string, manifest: Manifest): Promise<void> {
  const path = join(folder, 'run.json');
  const known = await readIfThere(path);
  if (known !== undefined) return checkSame(folder, known.toString('utf8'), manifest);
  await makeFolder(folder).catch(refused(`--out ${folder}`, 'made a folder'));
  const files = await readdir(folder).catch(refused(`--out ${folder}`, 'read'));
  if (files.some((file) => file !== 'run.json.part')) {
    throw new ElasticCacheError(
      'invalid-option',
      `--out ${folder} holds files but no run.json; choose an empty folder, or that of an earlier run.`,
    );
  }
  // Whole or not there: a run killed right here must not leave a folder that no run can take.
  await writeFile(`${path}.part`, `${JSON.stringify(manifest, null, 2)}\n`).catch(
    refused(`${path}.part`, 'written'),
  );
  await rename(`${path}.part`, path).catch(refused(path, 'written'));
}

function checkSame(folder: string, text: string, manifest: Manifest): void {
  let known: Manifest;
  try {
    known = Manifest.parse(JSON.parse(text));
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-option',
      `run.json in --out ${folder} is not that of a run of this version; choose another folder.`,
      { cause },
    );
  }
  for (const name of Object.keys(NAMES) as (keyof Manifest)[]) {
    if (known[name] === manifest[name]) continue;
    const values = name.endsWith('Hash') ? '' : ` (${known[name]} there, ${manifest[name]} now)`;
    throw new ElasticCacheError(
      'invalid-option',
      `--out ${folder} holds a run with another ${NAMES[name]}${values}; choose another folder, or the options of that run.`,
    );
  }
}

/** How much of each end of a file is read to tell whether it is another: training changes all of it. */
const EDGE = 1 << 20;

/** Tells two states of a model on disk apart: names, sizes and both ends of its ONNX files. Empty for an id of the Hub. */
export async function hashModel(idOrDirectory: string): Promise<string> {
  const folder = join(idOrDirectory, 'onnx');
  const files = await readdir(folder).catch(orUndefined).catch(refused(folder, 'read'));
  if (files === undefined || files.length === 0) return '';
  const hash = createHash('sha256');
  for (const name of files.sort()) {
    const path = join(folder, name);
    const { size } = await stat(path).catch(refused(path, 'read'));
    hash.update(`${name}:${size}\n`);
    await using file = await open(path).catch(refused(path, 'read'));
    for (const position of [0, Math.max(0, size - EDGE)]) {
      const { bytesRead, buffer } = await file
        .read({ buffer: Buffer.alloc(EDGE), position })
        .catch(refused(path, 'read'));
      hash.update(buffer.subarray(0, bytesRead));
    }
  }
  return hash.digest('hex');
}
