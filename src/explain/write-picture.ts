import { randomUUID } from 'node:crypto';
import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import sharp from 'sharp';
import { diskReason, ElasticCacheError, isDiskFull } from '../errors.js';

/** Pixels of a PNG for each unit of the SVG. */
const SHARPNESS = 2;

/**
 * Checks where a picture is to go before a model is asked for it.
 * @throws ElasticCacheError 'invalid-option' for another extension than .svg and .png, a directory that does not exist or cannot be written to, a directory in the way, or one
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
  const trial = temporaryFor(path);
  await writeFile(trial, '').catch((cause: unknown) => {
    throw unwritable(path, cause);
  });
  await rm(trial);
}

/**
 * Writes a page of SVG as it is, or as PNG where the path ends in .png; in place at the end, or not at all.
 * @throws ElasticCacheError 'invalid-option' when the file cannot be written, 'out-of-space'
 */
export async function writePicture(path: string, svg: string): Promise<void> {
  const bytes =
    extname(path).toLowerCase() === '.png'
      ? await sharp(Buffer.from(svg), { density: 72 * SHARPNESS, unlimited: true })
          .png()
          .toBuffer()
      : svg;
  const temporary = temporaryFor(path);
  try {
    await writeFile(temporary, bytes);
    await rename(temporary, resolve(path));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw unwritable(path, cause);
  }
}

/** Beside the picture, under a name that nobody has. */
function temporaryFor(path: string): string {
  const target = resolve(path);
  return join(dirname(target), `.${basename(target)}-${randomUUID()}`);
}

function unwritable(path: string, cause: unknown): ElasticCacheError {
  const code = isDiskFull(cause) ? 'out-of-space' : 'invalid-option';
  const message = `the picture ${path} cannot be written (${diskReason(cause)}); choose another place.`;
  return new ElasticCacheError(code, message, { cause });
}

function invalid(message: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', message);
}
