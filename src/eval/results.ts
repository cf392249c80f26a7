import { appendFileSync, statSync } from 'node:fs';
import { truncate } from 'node:fs/promises';
import { z } from 'zod';
import { ElasticCacheError } from '../errors.js';
import { readIfThere, refused } from './disk.js';

const Rouge = z.object({ rouge1: z.number(), rouge2: z.number(), rougeL: z.number() });
const ResultLine = z.object({
  sample: z.string(),
  task: z.string(),
  policy: z.string(),
  budget: z.string(),
  /** The generated answer. */
  text: z.string().optional(),
  /** Entries in the cache when the answer was complete, the mean over the layers, and tokens seen by then. */
  tokensHeld: z.number().optional(),
  tokensSeen: z.number().optional(),
  perplexity: z.object({ nats: z.number(), tokens: z.int() }).optional(),
  /** F1 against the answer with the full cache, 0 to 1. */
  rouge: Rouge.optional(),
  /** F1 against the same, by the `rouge` package's way. */
  rougeLUnion: z.number().optional(),
  /** F1 against the true answer. */
  rougeTrue: Rouge.optional(),
  right: z.boolean().optional(),
  latency: z
    .object({
      batch: z.int(),
      promptTokens: z.int(),
      newTokens: z.int(),
      prefillMs: z.number(),
      msPerToken: z.number(),
      bytesHeld: z.number(),
      bytesPeak: z.number(),
    })
    .optional(),
});

/** What one policy and budget did on one task of one sample. */
export type ResultLine = z.infer<typeof ResultLine>;
/** What a line is about: no two lines share it. */
export type ResultKey = Pick<ResultLine, 'sample' | 'task' | 'policy' | 'budget'>;

const keyOf = ({ sample, task, policy, budget }: ResultKey) => JSON.stringify([sample, task, policy, budget]);

/** Lines of a sweep, each about something else. */
export class LineTable {
  protected readonly known = new Map<string, ResultLine>();

  get lines(): ResultLine[] {
    return [...this.known.values()];
  }

  get(key: ResultKey): ResultLine | undefined {
    return this.known.get(keyOf(key));
  }

  /** @throws ElasticCacheError 'invalid-model' for a number that is none */
  append(line: ResultLine): void {
    refuseNoNumber(line);
    this.known.set(keyOf(line), line);
  }
}

/** Those of a folder: one JSON object a line, on disk as soon as it is known. */
export class ResultsFile extends LineTable {
  private constructor(
    private readonly path: string,
    /** Bytes of the file as this run left it. */
    private size: number,
    lines: readonly ResultLine[],
  ) {
    super();
    for (const line of lines) this.known.set(keyOf(line), line);
  }

  /**
   * Opens the lines of an earlier run, or none. A last line that was torn when that run was killed is cut off the file.
   * @throws ElasticCacheError 'invalid-data' when another line is damaged; when the disk will not, as {@link refused} says
   */
  static async open(path: string): Promise<ResultsFile> {
    const bytes = (await readIfThere(path)) ?? Buffer.alloc(0);
    const whole = bytes.lastIndexOf('\n') + 1;
    if (whole < bytes.length) await truncate(path, whole).catch(refused(path, 'written'));
    const lines = bytes.subarray(0, whole).toString('utf8').split('\n').slice(0, -1);
    const known = lines.flatMap((line, index) =>
      line.trim() === '' ? [] : [parseLine(line, `${path}:${index + 1}`)],
    );
    return new ResultsFile(path, whole, known);
  }

  /**
   * Synchronous: an interrupt between two steps of the program finds the line whole or not there.
   * @throws ElasticCacheError 'invalid-model' for a number that is none, 'invalid-option' when another run writes to the file; when
   *   the disk will not, as {@link refused} says
   */
  override append(line: ResultLine): void {
    refuseNoNumber(line);
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    try {
      this.refuseOtherWriter();
      appendFileSync(this.path, bytes);
    } catch (cause) {
      refused(this.path, 'written')(cause);
    }
    this.size += bytes.length;
    super.append(line);
  }

  /** Not by a lock: one that outlives a killed run would keep the next from going on. */
  private refuseOtherWriter(): void {
    if ((statSync(this.path, { throwIfNoEntry: false })?.size ?? 0) === this.size) return;
    throw new ElasticCacheError(
      'invalid-option',
      `${this.path} is not as this run left it: another run writes there, or someone changed it; let one run at a time use a folder, and run the same command again to go on.`,
    );
  }
}

/** JSON has no word for NaN or infinity: the line could not be read again. */
function refuseNoNumber(line: ResultLine): void {
  const { error } = ResultLine.safeParse(line);
  if (!error) return;
  const { sample, task, policy, budget } = line;
  throw new ElasticCacheError(
    'invalid-model',
    `${error.issues[0]!.path.join('.')} of ${sample}, ${task} is no finite number with ${policy} at budget ${budget}: the model's scores overflowed, or its weights are damaged; try another --dtype, or leave out that policy or budget.`,
  );
}

function parseLine(line: string, place: string): ResultLine {
  try {
    return ResultLine.parse(JSON.parse(line));
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-data',
      `${place} is damaged; take that line out of the file, and what it held is measured again.`,
      { cause },
    );
  }
}
