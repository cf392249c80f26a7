import { randomUUID } from 'node:crypto';
import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import sharp from 'sharp';
import { ElasticCacheError } from '../errors.js';

/** Pixels of a PNG for each unit of the SVG. */
const SHARPNESS = 2;

/**
 * Checks where a picture is to go before a model is asked for it.
 * @throws ElasticCacheError 'invalid-option' for another extension than .svg and .png, a directory that does not exist, a directory in the way, or one
 * of the `images` in its place
 */
export async function checkPicturePath(path: string, images: readonly string[]): Promise<void> {
  if (!['.svg', '.png'].includes(extname(path).toLowerCase())) {
    throw invalid(`the picture ${path} is neither .svg nor .png; name it for example explained.svg.`);
  }
  const directory = await stat(dirname(resolve(path))).catch(() => undefined);
  if (!directory?.isDirectory()) {
    throw invalid(
      `there is no directory ${dirname(resolve(path))} for the picture; make it first or choose another place.`,
    );
  }
  if (images.some((image) => resolve(image) === resolve(path))) {
    throw invalid(`the picture ${path} would take the place of the image; choose another name.`);
  }
  const taken = await stat(path).catch(() => undefined);
  if (taken?.isDirectory()) throw invalid(`the picture ${path} is a directory; name a file in it.`);
}

/**
 * Writes a page of SVG as it is, or as PNG where the path ends in .png; in place at the end, or not at all.
 * @throws ElasticCacheError 'invalid-option' when the file cannot be written
 */
export async function writePicture(path: string, svg: string): Promise<void> {
  const bytes =
    extname(path).toLowerCase() === '.png'
      ? await sharp(Buffer.from(svg), { density: 72 * SHARPNESS, unlimited: true })
          .png()
          .toBuffer()
      : svg;
  const target = resolve(path);
  const temporary = join(dirname(target), `.${basename(target)}-${randomUUID()}`);
  try {
    await writeFile(temporary, bytes);
    await rename(temporary, target);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw invalid(`the picture ${path} cannot be written (${reason}); choose another place.`, cause);
  }
}

function invalid(message: string, cause?: unknown): ElasticCacheError {
  return new ElasticCacheError('invalid-option', message, { cause });
}
