import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { samplesDirectory } from './embedded.js';

const Truth = z.object({ description: z.string().min(1) });

/** A scene that comes with the package. */
export interface Sample {
  name: string;
  /** Path of the picture. */
  image: string;
  /** The one true description, in the form that the embedded model was taught. */
  description: string;
}

/**
 * The scene of a number, counted from 1 in the order of their names.
 * @throws ElasticCacheError 'missing-file', 'invalid-option' when there is no scene of that number
 */
export async function readSample(number: number): Promise<Sample> {
  const names = await sampleNames();
  const name = names[number - 1];
  if (name === undefined) {
    throw new ElasticCacheError(
      'invalid-option',
      `there is no scene ${number}; choose one from 1 to ${names.length}.`,
    );
  }
  const truth = Truth.parse(JSON.parse(await readFile(join(samplesDirectory, `${name}.json`), 'utf8')));
  return { name, image: join(samplesDirectory, `${name}.png`), description: truth.description };
}

async function sampleNames(): Promise<string[]> {
  const files = await readdir(samplesDirectory).catch((cause: unknown) => {
    throw new ElasticCacheError(
      'missing-file',
      `the scenes that come with the package are not at ${samplesDirectory}; install the package again.`,
      { cause },
    );
  });
  return files
    .filter((file) => file.endsWith('.png') && files.includes(file.replace(/png$/, 'json')))
    .map((file) => file.slice(0, -'.png'.length))
    .sort(new Intl.Collator('en', { numeric: true }).compare);
}
