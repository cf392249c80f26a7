import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { embeddedImage } from '../../models/embedded.js';

const Truth = z.object({ description: z.string().min(1) });

/** A scene that comes with the package. */
export interface Sample {
  /** Path of the picture. */
  image: string;
  /** The one true description, in the form that the embedded model was taught. */
  description: string;
}

/** The scene of a number, counted from 1. @throws ElasticCacheError 'missing-file', 'invalid-option' when there is none of that number */
export async function readSample(number: number): Promise<Sample> {
  const image = embeddedImage(number);
  const { description } = Truth.parse(JSON.parse(await readFile(image.replace(/png$/, 'json'), 'utf8')));
  return { image, description };
}
