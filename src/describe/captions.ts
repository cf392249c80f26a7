import { appendFileSync } from 'node:fs';
import { access, constants, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { ElasticCacheError } from '../errors.js';
import { readIfThere, refused } from '../eval/disk.js';

const Caption = z.union([
  z.object({
    image: z.string(),
    text: z.string(),
    finish: z.string(),
    prompt_tokens: z.int(),
    new_tokens: z.int(),
  }),
  z.object({ image: z.string(), error: z.object({ code: z.string(), message: z.string() }) }),
]);

/** A line: what a model said of an image, or why it could not. */
export type Caption = z.infer<typeof Caption>;

/** Captions as JSON Lines, each on disk as soon as its turn comes, and beside them, in `.settings.json`, how they were made. */
export class CaptionsFile {
  private constructor(
    private readonly path: string,
    /** Images that have a line. */
    readonly done: ReadonlySet<string>,
  ) {}

  /**
   * Opens the lines of an earlier run, or none. A last line that was torn when that run was killed is cut off.
   * @param settings how captions are made: those of one file all alike
   * @throws ElasticCacheError 'invalid-data' for a file of something else; 'invalid-option' where the earlier run had other settings, and for what is no file
   */
  static async open(path: string, settings: object): Promise<CaptionsFile> {
    const there = await stat(path).catch(() => undefined);
    // Neither can be read again, and then gone on with.
    if (path === '-' || (there !== undefined && !there.isFile()))
      throw new ElasticCacheError(
        'invalid-option',
        `--out ${path} is no file; give the path of one, such as captions.jsonl.`,
      );
    const bytes = (await readIfThere(path)) ?? Buffer.alloc(0);
    const whole = bytes.lastIndexOf('\n') + 1;
    const lines = bytes.subarray(0, whole).toString('utf8').split('\n').slice(0, -1);
    const images = lines.map((line, index) => imageOf(line, `${path}:${index + 1}`));
    const wanted = `${JSON.stringify(settings, null, 2)}\n`;
    const beside = `${path}.settings.json`;
    const found = bytes.length === 0 ? undefined : await readFile(beside, 'utf8').catch(() => '');
    if (found !== undefined && found !== wanted) {
      throw new ElasticCacheError(
        'invalid-option',
        `${path} was begun with other settings, which ${beside} says; run the same command again to go on with it, or give another --out.`,
      );
    }
    if (there) await access(path, constants.W_OK).catch(refused(path, 'written'));
    await writeFile(beside, wanted).catch(refused(beside, 'written'));
    if (whole < bytes.length) await truncate(path, whole).catch(refused(path, 'written'));
    return new CaptionsFile(path, new Set(images));
  }

  /** Synchronous: who is interrupted finds the line whole or not there. */
  append(caption: Caption): void {
    try {
      appendFileSync(this.path, `${JSON.stringify(caption)}\n`);
    } catch (cause) {
      refused(this.path, 'written')(cause);
    }
  }
}

function imageOf(line: string, place: string): string {
  try {
    return Caption.parse(JSON.parse(line)).image;
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-data',
      `${place} is no line of captions; take it out of the file, or give another --out.`,
      { cause },
    );
  }
}
